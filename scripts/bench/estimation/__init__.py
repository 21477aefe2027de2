"""How well performance is estimated before labels come, beside NannyML on the same windows."""
