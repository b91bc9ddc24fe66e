"""Runs from a file that another machine exported."""

from __future__ import annotations

import streamlit as st

from core.errors import InputError, explain
from core.transfer import Imported, import_runs
from dashboard.components import cache


def offer() -> None:
    """A button that opens the upload, and what became of the last one."""
    done: Imported | None = st.session_state.pop("_imported", None)
    with st.expander("Import runs", icon=":material/upload_file:", expanded=done is not None):
        # A new key gives an empty field: a file that was imported does not stay to be imported again.
        number = st.session_state.get("_imports", 0)
        uploaded = st.file_uploader(
            "A file that Export wrote",
            ["zip"],
            key=f"import_{number}",
            help="It is checked from its ids to its masks before anything is added; nothing in it is executed. Larger than "
            "200 MB: `python -m core runs import FILE.zip`.",
        )
        if st.button("Import", type="primary", icon=":material/upload:", disabled=uploaded is None) and uploaded:
            try:
                with st.spinner("Checking and importing …"):
                    found = import_runs(cache.store(), uploaded, uploaded.name)
            except InputError as error:
                st.error(explain(error), icon=":material/error:")
            else:
                st.session_state.update(_imported=found, _imports=number + 1)
                st.rerun()
        if done is not None:
            _tell(done)


def _tell(done: Imported) -> None:
    if done.new:
        st.success(f"Imported {len(done.new)}: {', '.join(done.new)}.", icon=":material/check:")
    if done.kept:
        st.info(
            f"Finished here already, so left as they are: {', '.join(done.kept)}. Delete them first to take the file's.",
            icon=":material/info:",
        )
