"""Values that JSON cannot hold, as ones that it can, and back: nothing changes on the way.

JSON has no map whose keys are not text, and Spark's writer no times of day, intervals or variants. Everything
else is left to Spark's own ``to_json`` and ``from_json``.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    CalendarIntervalType,
    DataType,
    DayTimeIntervalType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimeType,
    VariantType,
    YearMonthIntervalType,
)

_AS_TEXT = (CalendarIntervalType, DayTimeIntervalType, YearMonthIntervalType, TimeType, VariantType)


def json_type(kind: DataType) -> DataType:
    """The type that stands for ``kind`` in JSON; a map with other keys than text is an array of entries."""
    if isinstance(kind, _AS_TEXT):
        return StringType()
    if isinstance(kind, ArrayType):
        return ArrayType(json_type(kind.elementType))
    if isinstance(kind, StructType):
        return StructType([StructField(f.name, json_type(f.dataType)) for f in kind.fields])
    if isinstance(kind, MapType):
        value = json_type(kind.valueType)
        if isinstance(kind.keyType, StringType):
            return MapType(kind.keyType, value)
        return ArrayType(
            StructType([StructField("key", json_type(kind.keyType)), StructField("value", value)])
        )
    return kind


def encode(value: Column, kind: DataType) -> Column:
    """``value`` of type ``kind`` as one of type ``json_type(kind)``."""
    if _holds(kind):
        return value
    if isinstance(kind, VariantType):
        return F.to_json(value)
    if isinstance(kind, ArrayType):
        return F.transform(value, lambda item: encode(item, kind.elementType))
    if isinstance(kind, StructType):
        fields = [encode(value.getField(f.name), f.dataType).alias(f.name) for f in kind.fields]
        return F.when(value.isNotNull(), F.struct(*fields))
    if isinstance(kind, MapType):
        return _encode_map(value, kind)
    return value.cast("string")


def decode(value: Column, kind: DataType) -> Column:
    """The inverse of :func:`encode`."""
    if _holds(kind):
        return value.cast(kind)
    if isinstance(kind, VariantType):
        return F.parse_json(value)
    if isinstance(kind, ArrayType):
        return F.transform(value, lambda item: decode(item, kind.elementType))
    if isinstance(kind, StructType):
        fields = [decode(value.getField(f.name), f.dataType).alias(f.name) for f in kind.fields]
        return F.when(value.isNotNull(), F.struct(*fields))
    if isinstance(kind, MapType):
        return _decode_map(value, kind)
    return value.cast(kind)


def _holds(kind: DataType) -> bool:
    """Whether JSON holds the type as it is, whatever may be NULL in it."""
    return json_type(kind).simpleString() == kind.simpleString()


def _encode_map(value: Column, kind: MapType) -> Column:
    if isinstance(kind.keyType, StringType):
        return F.transform_values(value, lambda _, item: encode(item, kind.valueType))
    return F.transform(
        F.map_entries(value),
        lambda e: F.struct(
            encode(e["key"], kind.keyType).alias("key"), encode(e["value"], kind.valueType).alias("value")
        ),
    )


def _decode_map(value: Column, kind: MapType) -> Column:
    if isinstance(kind.keyType, StringType):
        return F.transform_values(value, lambda _, item: decode(item, kind.valueType))
    entries = F.transform(
        value,
        lambda e: F.struct(
            decode(e["key"], kind.keyType).alias("key"), decode(e["value"], kind.valueType).alias("value")
        ),
    )
    return F.map_from_entries(entries)
