"""``make bench``: audited runs beside their peers, on the same data, interleaved."""
