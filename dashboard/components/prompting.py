"""The same prompt continued by the dense model and by two runs."""

from __future__ import annotations

import streamlit as st
from pydantic import ValidationError

from core.difference import same_model
from core.errors import InputError, explain
from core.evaluation.generation import Generation
from core.measurements.generation import Continuation
from core.store import Run
from dashboard.components import cache, forms, measuring

_EXAMPLE = "The city of London is"


def show(a: Run, b: Run) -> None:
    """Three texts side by side; offers to write what is not known."""
    prompt = st.text_area("Prompt", _EXAMPLE, key="prompt", bind="query-params", height=80)
    with st.expander("How it is continued"):
        values = forms.fields(Generation, "generate", skip={"prompt"})
    try:
        generation = Generation.model_validate({"prompt": prompt, **values})
    except (ValidationError, InputError) as error:
        st.error(explain(error), icon=":material/error:")
        return
    wanted = {
        "Dense" if same_model(a, b) else "Dense (A's model)": Continuation.of_dense(
            a.config.model, a.identity.model_revision, generation=generation
        ),
        f"A · {a.name}": Continuation.of_run(a, generation=generation),
        f"B · {b.name}": Continuation.of_run(b, generation=generation),
    }
    texts = {name: one.text(cache.store()) for name, one in wanted.items()}
    for column, (name, text) in zip(st.columns(len(texts)), texts.items(), strict=True):
        with column, st.container(border=True):
            st.markdown(f"**{name}**")
            if text is None:
                st.caption("Not written yet.")
            else:
                st.text(f"{prompt}{text}" if not generation.chat else text)
    if unknown := [one for name, one in wanted.items() if texts[name] is None]:
        measuring.offer_all(unknown, "Continue the prompt", "Each model writes once; then it is known.", "prompt")
