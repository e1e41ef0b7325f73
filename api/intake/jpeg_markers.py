"""JPEG's marker numbers (ITU-T T.81, table B.1), for the header and for the decoder child."""

# Start-of-frame markers; C4, C8 and CC in their range have other meanings.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
HIERARCHICAL = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF})
# Bits per sample, other than the usual 8, that the standard allows.
DEEP_SAMPLES = frozenset({*range(2, 8), *range(9, 17)})
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
SCAN = 0xDA
