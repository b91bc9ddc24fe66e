"""A measurement on a page: the button that starts it, how far it is, how it ended."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from core.errors import InputError, explain
from core.measurements import Measurement
from core.store import Attempt, MeasurementRecord
from dashboard.components import cache, text


def offer(measurement: Measurement, label: str, why: str, place: str = "page") -> None:
    """Says ``why`` it is wanted and offers to measure it; while it is under way, shows how far it is.

    ``place`` tells two offers of the same on one page apart.
    """
    offer_all([measurement], label, why, place)


def offer_all(measurements: Sequence[Measurement], label: str, why: str, place: str = "page") -> None:
    """The same for several things that are wanted together, none of them known yet."""
    records = [record for one in measurements if (record := cache.store().measurement(one.id))]
    active = [record for record in records if record.attempt.active]
    for record in active:
        _live(record.id, place)
    if active:
        return
    for record in records:
        _ended_early(record)
    st.info(why, icon=":material/info:")
    if st.button(label, type="primary", icon=":material/straighten:", key=f"measure_{place}_{measurements[0].id}"):
        try:
            for measurement in measurements:
                cache.jobs().measure(measurement)
        except InputError as error:
            st.error(explain(error), icon=":material/error:")
        else:
            st.rerun(scope="app")


def _ended_early(record: MeasurementRecord) -> None:
    match record.attempt.status:
        case "failed":
            st.error(record.attempt.message, icon=":material/error:")
        case "interrupted":
            st.warning(f"Interrupted. {record.attempt.message}", icon=":material/warning:")
        case "cancelled":
            st.info("Cancelled. Start it again when you like.", icon=":material/info:")


@st.fragment(run_every=1.0)
def _live(measurement_id: str, place: str) -> None:
    cache.store().reconcile()  # its process may have died
    record = cache.store().measurement(measurement_id)
    if record is None or not record.attempt.active:
        st.rerun(scope="app")
    attempt = record.attempt
    if attempt.status == "queued":
        st.info("It waits for the run that is under way, or for the worker to start.", icon=":material/hourglass:")
    else:
        _progress(attempt)
    st.button(
        "Cancelling …" if attempt.cancel_requested else "Cancel",
        on_click=cache.store().request_cancel,
        args=[attempt.id],
        disabled=attempt.cancel_requested,
        icon=":material/stop:",
        key=f"cancel_{place}_{measurement_id}",
    )


def _progress(attempt: Attempt) -> None:
    share = attempt.phase_done / attempt.phase_total if attempt.phase_total else 0.0
    known = f"{attempt.phase_done} of {attempt.phase_total}" if attempt.phase_total else "…"
    st.progress(share, f"{attempt.phase or 'Starting'}: {known}")
    elapsed = time.time() - (attempt.started_at or attempt.submitted_at)
    st.caption(" · ".join(filter(None, [f"{text.seconds(elapsed)} elapsed", attempt.message])))
