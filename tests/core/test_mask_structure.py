"""What keep masks look like, against counting one by one, and SciPy's own CSR."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from core.mask_structure import byte_forms, empty_lines, fitting_groups, mask_structure


def packed(keep):
    return np.packbits(keep), keep.shape


@st.composite
def masks(draw):
    rows, columns = draw(st.integers(1, 9)), draw(st.sampled_from([4, 8, 12, 16, 20, 24]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    return rng.random((rows, columns)) < draw(st.sampled_from([0.05, 0.5, 0.9]))


@given(masks())
def test_empty_lines_are_those_without_a_survivor(keep):
    rows = sum(not any(row) for row in keep.tolist())
    columns = sum(not any(column) for column in keep.T.tolist())
    assert empty_lines(*packed(keep)) == (rows, columns)


@given(masks(), st.sampled_from([(1, 4), (2, 4), (4, 8), (3, 2), (1, 2), (5, 12)]))
def test_fitting_groups_are_counted_one_by_one(keep, pattern):
    n, m = pattern
    if keep.shape[1] % m:
        assert fitting_groups(*packed(keep), n, m) is None
        return
    groups = [row[i : i + m] for row in keep.tolist() for i in range(0, len(row), m)]
    share = sum(sum(group) <= n for group in groups) / len(groups)
    assert fitting_groups(*packed(keep), n, m) == pytest.approx(share, abs=1e-12)


def test_a_reallocated_mask_fits_in_its_own_order_only():
    keep = np.array([[True, True, True, False, False, False, True, False]])
    order = np.array([0, 1, 3, 4, 2, 6, 5, 7])
    alone = mask_structure({"a": packed(keep)}, {}, 2, 4)
    dealt = mask_structure({"a": packed(keep)}, {"a": order}, 2, 4)
    assert alone.fitting.tolist() == [0.5]
    assert dealt.fitting.tolist() == [1.0]
    assert dealt.empty_inputs.tolist() == [4]


def one(keep, **more):
    table = pd.DataFrame({"rows": [keep.shape[0]], "columns": [keep.shape[1]], "parameters": [keep.size]})
    looked = mask_structure({"a": packed(keep)}, {}, 2, 4)
    return table.assign(pruned=int((~keep).sum()), fitting=looked.fitting, **more)


def test_bytes_of_a_24_matrix_by_hand():
    keep = np.tile([True, False, True, False], (2, 2))  # 2 x 8, 8 survivors, float32
    forms = byte_forms(one(keep), 4, 2, 4).iloc[0]
    assert forms["dense"] == 64
    assert forms["bitmask"] == 8 * 4 + 2
    assert forms["CSR"] == 8 * (4 + 4) + 3 * 4
    assert forms["2:4"] == 8 * 4 + 2  # and 2 bits for the place of each of 8


def test_csr_is_as_large_as_scipys():
    rng = np.random.default_rng(0)
    keep = rng.random((24, 36)) < 0.3
    matrix = csr_matrix(np.where(keep, rng.normal(size=keep.shape), 0).astype(np.float32))
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    expected = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert byte_forms(one(keep), 4, 2, 4).CSR.tolist() == [expected]


def test_what_does_not_fit_has_no_nm_form():
    assert byte_forms(one(np.ones((2, 8), bool)), 2, 2, 4)["2:4"].isna().all()


def test_factors_are_dense_in_every_form():
    table = pd.DataFrame(
        {
            "rows": [8],
            "columns": [8],
            "parameters": [64],
            "pruned": [0],
            "fitting": [np.nan],
            "factored_parameters": [32],
        }
    )
    assert byte_forms(table, 2, 2, 4).iloc[0].tolist() == [64, 64, 64, 64]
