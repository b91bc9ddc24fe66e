"""PruneScope: page config and navigation; nothing else."""

import streamlit as st

from dashboard.components import tour
from dashboard.components.shell import ABOUT, FAVICON, navigation

# A Dask worker imports this file again when it starts; only the app itself may draw.
if __name__ == "__main__":
    st.set_page_config(page_title="PruneScope", page_icon=FAVICON, layout="wide", menu_items={"About": ABOUT})
    page = navigation()
    tour.card(page.title)
    page.run()
    tour.reopen()
