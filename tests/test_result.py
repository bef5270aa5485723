import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import qcheck
from qcheck.jsonio import significant
from qcheck.result import json_schema


def test_the_shipped_schema_is_the_one_of_the_code() -> None:
    """Write it down anew with: python -c "import json; from qcheck.result import json_schema; …"."""
    shipped = json.loads((Path(qcheck.__file__).parent / "result.schema.json").read_text())
    assert shipped == json_schema()


@given(st.floats(allow_nan=False))
def test_six_significant_digits(value: float) -> None:
    rounded = significant(value)
    assert rounded == value or abs(rounded - value) <= 5.1e-6 * abs(value)
    assert significant(rounded) == rounded
