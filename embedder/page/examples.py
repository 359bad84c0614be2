"""Texts to click, in English, as the stand-in reads nothing else."""

QUERY = "How do plants make their food?"
PASSAGES = """\
Photosynthesis turns sunlight, water and carbon dioxide into sugar inside green leaves.
Plants take up minerals from the soil through their roots.
Most restaurants in the old town serve food until midnight.
Animals cannot make their own food and have to eat other living things.
Chlorophyll is the pigment that lets a leaf absorb the energy of light."""
_CODES = """\
Error 0x80070005 means access denied: run the installer as an administrator.
Error 0x80070002 means that the file was not found.
If an update fails, restart the computer and try again.
The access code for the building changes every month."""

COMPARISONS = {
    "meaning": (QUERY, PASSAGES),
    "exact words": ("what is error 0x80070005", _CODES),
}
"""Query and passages by what they show."""

TEXT = (
    "BGE-M3 gives every token a weight that it has learned: rare words such as photosynthesis "
    "or chlorophyll weigh a lot, while the, of and is hardly count."
)
ALIGNED = "Photosynthesis turns sunlight into sugar: green plants feed themselves from the air."
