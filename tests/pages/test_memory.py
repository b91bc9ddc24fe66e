"""What the app keeps in memory has an end: every cache is bounded, and two hundred reruns leave it as large as fifty do."""

import ast
import gc
import inspect

import psutil

from core.config import RunConfig
from dashboard.components import cache
from tests.pages.conftest import LABELS, add_run, open_app

MEGABYTE = 1e6


def test_every_cache_is_bounded():
    caching = {}
    for function in ast.walk(ast.parse(inspect.getsource(cache))):
        for call in getattr(function, "decorator_list", []):
            if ast.unparse(call).startswith("st.cache_") and function.args.args:
                caching[function.name] = ast.unparse(call)
    assert len(caching) > 15
    unbounded = [name for name, call in caching.items() if "max_entries=" not in call]
    assert unbounded == []


def test_two_hundred_reruns_keep_nothing(store):
    runs = [add_run(store, RunConfig(sparsity=sparsity)) for sparsity in (0.4, 0.5, 0.6)]
    app = open_app("dashboard/sparsity.py", run=runs[0].id)
    sizes = []
    for number in range(200):
        app.selectbox(key="block").set_value(number % 3)
        app.selectbox(key="module").set_value(LABELS[number % 2])
        app.selectbox(key="run").set_value(runs[number % 3].id)
        app.run()
        assert not app.exception
        if number in (60, 199):
            gc.collect()
            sizes.append(psutil.Process().memory_info().rss / MEGABYTE)
    print(f"{sizes[0]:.0f} MB after 60 reruns, {sizes[1]:.0f} MB after 200")
    assert sizes[1] - sizes[0] < 15
