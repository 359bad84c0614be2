"""Texts to click, by what they show; in English, as the stand-in reads nothing else."""

COMPARISONS = {
    "meaning": (
        "Can cars run without petrol?",
        (
            "Electric vehicles need no fuel.\n"
            "Petrol stations sell sandwiches, too.\n"
            "She runs without shoes.\n"
            "A battery drives the motor of an electric car."
        ),
    ),
    "exact words": (
        "How do I fix error E57?",
        (
            "E57 means that the filter is blocked: clean it.\n"
            "E75 means that the door is open.\n"
            "Most errors go away when the machine is restarted.\n"
            "How to fix a bicycle."
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
        "cheap flights to London",
        "Low-cost airlines fly to Heathrow and other airports in England.",
    ),
    "same words": (
        "Who discovered radium?",
        "Marie Curie found the elements radium and polonium in 1898.",
    ),
}
"""A query and a passage."""
