import hashlib
import json

import pytest
from pydantic import ValidationError

from core.allocation import Allocation
from core.config import Calibration, Evaluation, Identity, RunConfig
from core.data import EmbeddedCorpus, TextFile
from core.errors import InputError, explain
from core.methods import Method, ScoreMethod
from core.methods.magnitude import Magnitude
from core.methods.sparsegpt import SparseGPT
from core.methods.wanda import Wanda
from core.models.sources import Embedded, Hub
from core.patterns import NM, Unstructured
from core.registry import Component, Registry

IDENTITY = Identity(model_revision="r1", calibration_fingerprint="c1", evaluation_fingerprint="e1", versions=(1, 1, 1))
CONFIGS = [
    RunConfig(),
    RunConfig(method=SparseGPT(blocksize=64, damping=0.1), pattern=NM(n=1, m=4)),
    RunConfig(
        model=Hub(id="a/b", revision="v1", dtype="bfloat16", device="cuda:1"),
        method=Magnitude(),
        pattern=Unstructured(group="input"),
        sparsity=0.3,
        calibration=Calibration(corpus=TextFile(path="a.txt"), windows=128, seqlen=2048, seed=7, batch_size=1),
        evaluation=Evaluation(corpus=TextFile(path="b.txt"), windows=None, seqlen=512, batch_size=2),
    ),
]


def sentence(*args, **kwargs) -> str:
    """The one sentence a user reads where these values make no config."""
    with pytest.raises((ValidationError, InputError)) as caught:
        RunConfig.model_validate(*args) if args else RunConfig(**kwargs)
    return explain(caught.value)


def shuffled(value):
    """The same JSON with every object's keys in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return value


@pytest.mark.parametrize("config", CONFIGS)
def test_json_round_trip(config):
    text = config.model_dump_json()
    assert RunConfig.model_validate_json(text) == config
    assert RunConfig.model_validate(json.loads(text)) == config
    assert RunConfig.model_validate(config) == config
    assert type(RunConfig.model_validate_json(text).method) is type(config.method)


def test_json_says_what_it_means():
    dumped = json.loads(CONFIGS[1].model_dump_json())
    assert dumped["method"] == {
        "method": "sparsegpt",
        "blocksize": 64,
        "damping": 0.1,
        "bits": None,
        "bits_group": None,
        "symmetric": False,
        "selection": "block",
    }
    assert dumped["stages"] == []
    assert dumped["pattern"] == {"pattern": "nm", "n": 1, "m": 4}
    assert dumped["sparsity"] == 0.75
    assert dumped["model"] == {"source": "embedded", "dtype": "auto", "device": "auto"}


@pytest.mark.parametrize("config", CONFIGS)
def test_the_order_of_keys_changes_no_id(config):
    given = json.loads(config.model_dump_json())
    again = RunConfig.model_validate(shuffled(given))
    assert list(given) == list(reversed(shuffled(given)))
    assert IDENTITY.run_id(again) == IDENTITY.run_id(config)
    assert RunConfig.model_validate(json.loads(config.canonical())).canonical() == config.canonical()


def test_names_objects_and_components_mean_the_same():
    forms = [
        RunConfig(method="wanda", pattern="2:4"),
        RunConfig(method=Wanda(), pattern=NM(n=2, m=4), sparsity=0.5),
        RunConfig(method={"method": "wanda"}, pattern={"pattern": "nm"}, sparsity=None),
    ]
    assert len({IDENTITY.run_id(form) for form in forms}) == 1


CHANGES = {
    "model": {"source": "hub"},
    "model.dtype": "float32",
    "model.device": "cpu",
    "method": "magnitude",
    "method.blocksize": 64,
    "method.damping": 0.02,
    "method.bits": 4,
    "method.bits_group": 32,
    "method.symmetric": True,
    "method.selection": "matrix",
    "stages": [{"stage": "barber"}],
    "pattern": {"pattern": "nm"},
    "pattern.group": "input",
    "sparsity": 0.6,
    "allocation": "another",
    "calibration.corpus": {"corpus": "text", "path": "a.txt"},
    "calibration.windows": 17,
    "calibration.seqlen": 128,
    "calibration.seed": 1,
    "calibration.batch_size": 2,
    "evaluation.corpus": {"corpus": "text", "path": "a.txt"},
    "evaluation.windows": None,
    "evaluation.seqlen": 128,
    "evaluation.batch_size": 2,
    "evaluation.also": [{"corpus": "text", "path": "a.txt"}],
}


def changed(values: dict, path: str, value) -> dict:
    values = json.loads(json.dumps(values))
    *parents, last = path.split(".")
    inner = values
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return values


def test_every_field_changes_the_id(clean_registries):
    class Another(Allocation):
        name = "another"
        title = "Another"

        def sparsities(self, profile, target):
            return {}

    base = RunConfig(method=SparseGPT()).model_dump(mode="json")
    ids = {
        path: IDENTITY.run_id(RunConfig.model_validate(changed(base, path, value))) for path, value in CHANGES.items()
    }
    ids["nothing"] = IDENTITY.run_id(RunConfig.model_validate(base))
    assert len(set(ids.values())) == len(ids)
    assert {path.split(".")[0] for path in CHANGES} == set(RunConfig.model_fields)
    for part, model in (("calibration", Calibration), ("evaluation", Evaluation)):
        assert {path for path in CHANGES if path.startswith(part)} == {f"{part}.{name}" for name in model.model_fields}


@pytest.mark.parametrize("field", Identity.model_fields)
def test_what_the_words_stood_for_changes_the_id(field):
    several = {"versions": (2, 1, 1), "also_fingerprints": ("other",)}
    other = IDENTITY.model_copy(update={field: several.get(field, "other")})
    assert other.run_id(CONFIGS[0]) != IDENTITY.run_id(CONFIGS[0])


def test_the_id_is_the_hash_of_config_and_identity():
    """Written down, so that a change of the format is noticed: old runs would be new ones."""
    config = (
        '{"allocation":{"allocation":"uniform"},"calibration":{"batch_size":4,"corpus":{"corpus":"embedded"},"seed":0,'
        '"seqlen":256,"windows":16},"evaluation":{"batch_size":4,"corpus":{"corpus":"embedded"},"seqlen":256,"windows":40},'
        '"method":{"bits":null,"bits_group":null,"blocksize":64,"damping":0.1,"method":"sparsegpt","selection":"block",'
        '"symmetric":false},"model":{"device":"auto","dtype":"auto","source":"embedded"},'
        '"pattern":{"m":4,"n":1,"pattern":"nm"},"sparsity":0.75,"stages":[]}'
    )
    identity = '{"model_revision":"r1","calibration_fingerprint":"c1","evaluation_fingerprint":"e1","versions":[1,1,1]}'
    assert CONFIGS[1].canonical() == config
    assert IDENTITY.run_id(CONFIGS[1]) == hashlib.sha256((config + identity).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("pattern", "sparsity"), [("2:4", 0.5), ("1:4", 0.75), ("4:5", 0.2), ("1:3", 2 / 3), ("7:10", 0.3)]
)
def test_a_sparsity_said_and_one_left_to_the_pattern_are_one_run(pattern, sparsity):
    said, left = RunConfig(pattern=pattern, sparsity=sparsity), RunConfig(pattern=pattern)
    assert IDENTITY.run_id(said) == IDENTITY.run_id(left)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"method": "wnda"},
            "Unknown method 'wnda'. Did you mean 'wanda'? Available: ",
        ),
        ({"method": "qqq"}, "Unknown method 'qqq'. Available: "),
        (
            {"pattern": "unstuctured"},
            "Unknown pattern 'unstuctured'. Did you mean 'unstructured'? Available: mixed_nm, nm, unstructured.",
        ),
        ({"allocation": "uniforn"}, "Unknown allocation 'uniforn'. Did you mean 'uniform'? Available: "),
        ({"method": {"blocksize": 4}}, "method = {'blocksize': 4} does not name a method; available: "),
        ({"sparsity": 1.0}, "sparsity = 1.0 is outside [0, 1); give the fraction of weights to prune, such as 0.5."),
        ({"sparsity": -0.1}, "sparsity = -0.1 is outside [0, 1); give the fraction of weights to prune, such as 0.5."),
        ({"sparsity": 50}, "sparsity = 50.0 is outside [0, 1); give the fraction of weights to prune, such as 0.5."),
        (
            {"sparsity": float("nan")},
            "sparsity = nan is outside [0, 1); give the fraction of weights to prune, such as 0.5.",
        ),
        (
            {"pattern": "1:4", "sparsity": 0.5},
            "sparsity = 0.5 contradicts pattern = 1:4, which prunes 0.75 of the weights; "
            "leave the sparsity out or choose another pattern.",
        ),
        (
            {"pattern": "4:2"},
            "pattern = 4:2 prunes nothing, since N of every M weights survive; choose N < M, such as 2:4.",
        ),
        ({"sparsty": 0.5}, "sparsty is not a known parameter; remove it or correct its name."),
        ({"calibration": {"window": 3}}, "calibration.window is not a known parameter; remove it or correct its name."),
        ({"sparsity": "half"}, "sparsity = 'half' is not valid: Input should be a valid number"),
        (
            {"calibration": {"windows": 0}},
            "calibration.windows = 0 is not valid: Input should be greater than or equal to 1.",
        ),
        (
            {"evaluation": {"seqlen": 4}},
            "evaluation.seqlen = 4 is not valid: Input should be greater than or equal to 8.",
        ),
    ],
)
def test_errors_name_parameter_value_and_way_out(values, text):
    said = sentence(values)
    assert said.startswith(text)
    assert "\n" not in said
    assert said == text or not text.endswith((".", "name."))


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"method": {"method": "sparsegpt", "blocksze": 4}}, "method.blocksze"),
        ({"pattern": {"pattern": "nm", "k": 4}}, "pattern.k"),
        ({"model": {"source": "embedded", "id": "a/b"}}, "model.id"),
        ({"calibration": {"corpus": {"corpus": "text", "file": "a"}}}, "calibration.corpus.file"),
    ],
)
def test_an_unknown_key_inside_a_component_is_named_by_its_path(values, path):
    assert sentence(values) == f"{path} is not a known parameter; remove it or correct its name."


@pytest.mark.parametrize(
    "also", [["embedded"], [{"corpus": "text", "path": "a.txt"}, {"corpus": "text", "path": "a.txt"}]]
)
def test_a_corpus_is_measured_once(also):
    said = sentence({"evaluation": {"also": also}})
    assert said.startswith("evaluation.also names ")
    assert said.endswith("again; a corpus is measured once, so leave it out.")


def test_each_corpus_by_itself():
    files = [TextFile(path=name) for name in ("a.txt", "b.txt")]
    evaluation = Evaluation(corpus=EmbeddedCorpus(), also=files, windows=3, seqlen=64)
    assert evaluation.each == tuple(
        Evaluation(corpus=corpus, windows=3, seqlen=64) for corpus in (EmbeddedCorpus(), *files)
    )
    assert Evaluation().each == (Evaluation(),)
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_titles():
    assert RunConfig(method=Wanda(), pattern="2:4").title == "Wanda 2:4 (50 %)"
    assert RunConfig(method=Magnitude(), sparsity=0.3).title == "Magnitude 30 %"


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError):
        CONFIGS[0].sparsity = 0.9
    with pytest.raises(ValidationError):
        CONFIGS[1].method.damping = 0.2


def test_a_method_of_ones_own_is_found_by_name(clean_registries):
    class Random(ScoreMethod):
        name = "random"
        title = "Random"
        seed: int = 0

        def score(self, weight, stats):
            return weight * 0 + self.seed

    config = RunConfig(method=Random(seed=3))
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert RunConfig(method="random").method == Random()
    assert Method.registry["random"] is Random
    assert IDENTITY.run_id(config) != IDENTITY.run_id(RunConfig(method=Random(seed=4)))


def test_two_classes_of_one_name_are_refused(clean_registries):
    with pytest.raises(
        ValueError, match=r"Two classes register the method 'wanda': core\.methods\.wanda\.Wanda and .*Mine; rename"
    ):

        class Mine(ScoreMethod):
            name = "wanda"
            title = "Mine"

    assert Method.registry["wanda"] is Wanda


def test_the_same_class_again_replaces_itself(clean_registries):
    """As hot reload defines it anew."""

    def define() -> type[Method]:
        class Reloaded(ScoreMethod):
            name = "reloaded"
            title = "Reloaded"

        return Reloaded

    define()
    second = define()
    assert Method.registry["reloaded"] is second


def test_a_subclass_without_a_name_of_its_own_is_not_registered(clean_registries):
    class Base(Wanda):
        pass

    assert Method.registry["wanda"] is Wanda


def test_kinds_have_registries_of_their_own():
    assert "wanda" in Method.registry
    assert "wanda" not in Allocation.registry
    assert not hasattr(Component, "registry")


def test_an_entry_point_is_loaded_at_the_first_look_up(monkeypatch):
    registry, asked = Registry("gadget"), []

    class Entry:
        def load(self):
            registry.add("mine", int)

    def entry_points(group):
        asked.append(group)
        return [Entry()]

    monkeypatch.setattr("core.registry.entry_points", entry_points)
    assert registry["mine"] is int
    assert list(registry) == ["mine"]
    assert registry.classes() == [int]
    assert asked == ["prunescope.gadgets"]


def test_the_default_model_needs_no_download():
    assert RunConfig().model == Embedded()
