"""How good a language model is: the loss on a text, and the text it writes itself."""

LOGITS_AT_ONCE = 2**25
"""How many logits (positions × vocabulary, over the batch) stand in memory at a time: 134 MB in float32, and a copy or two.

Fewer make the head's products slow, more only cost memory: measured on the embedded model, times are flat from 2^23 to 2^25.
"""
