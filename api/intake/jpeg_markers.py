"""JPEG's marker numbers (ITU-T T.81, table B.1), for the header and for the decoder child."""

# Start-of-frame markers; C4, C8 and CC in their range have other meanings.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
SCAN = 0xDA
