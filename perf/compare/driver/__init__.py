"""Measures Tutti against its peers, interleaved. See docs/howto/compare-with-peers.md."""
