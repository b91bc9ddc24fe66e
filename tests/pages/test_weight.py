"""What the app may not import before its first page stands: torch alone takes longer than all the rest."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(path.stem for path in (ROOT / "dashboard" / "components").glob("*.py"))


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_imports_nothing_heavy(component):
    code = f"import sys, dashboard.components.{component}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
