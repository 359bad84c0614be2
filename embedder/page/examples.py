"""Texts to click, by what they show; in English, as the stand-in reads nothing else."""

COMPARISONS = {
    "meaning": (
        "How do plants make their food?",
        (
            "Photosynthesis turns sunlight, water and carbon dioxide into sugar in green leaves.\n"
            "Plants take up minerals from the soil through their roots.\n"
            "Most restaurants in the old town serve food until midnight.\n"
            "Animals cannot make their own food and have to eat other living things.\n"
            "Chlorophyll is the pigment that lets a leaf absorb the energy of light."
        ),
    ),
    "exact words": (
        "what does error 0x80070005 mean",
        (
            "Error 0x80070005 says that access was denied: run the installer as administrator.\n"
            "Error 0x80070002 says that a file was not found.\n"
            "If an update fails, restart the computer and try again.\n"
            "The access code for the building changes every month."
        ),
    ),
}
"""A query and passages, one a line."""

TEXTS = {
    "rare words": (
        (
            "BGE-M3 gives every token a weight that it has learned: rare words such as "
            "photosynthesis or chlorophyll weigh a lot, while the, of and is hardly count."
        ),
    ),
    "names and numbers": (
        "Marie Curie won the Nobel Prize in Physics in 1903 and the one in Chemistry in 1911.",
    ),
}

PAIRS = {
    "other words": (
        "How do plants make their food?",
        "Photosynthesis turns sunlight into sugar: green plants feed themselves from the air.",
    ),
    "same words": (
        "capital of France",
        "Paris has been the capital of France for centuries.",
    ),
}
"""A query and a passage."""
