"""The 25 classes of HMDB_simp, in the order of their ids."""

HMDB_SIMP = (
    "brush_hair",
    "cartwheel",
    "catch",
    "chew",
    "climb",
    "climb_stairs",
    "draw_sword",
    "eat",
    "fencing",
    "flic_flac",
    "golf",
    "handstand",
    "kiss",
    "pick",
    "pour",
    "pullup",
    "pushup",
    "ride_bike",
    "shoot_bow",
    "shoot_gun",
    "situp",
    "smile",
    "smoke",
    "throw",
    "wave",
)


def readable(label: str) -> str:
    """The label as people write it: `"ride_bike"` -> `"ride bike"`."""
    return label.replace("_", " ")
