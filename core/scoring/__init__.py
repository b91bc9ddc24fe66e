"""Why a weight goes: where its score stands among those it competes with, and pictures of matrices too large to see."""
