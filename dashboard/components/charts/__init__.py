"""Tables in, Plotly figures out; nothing here reads the store or session."""
