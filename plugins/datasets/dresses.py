"""The words in which a planted world is told: a shop, a video service, a social network.

Each dress names ten categories and the things that titles are made of, so that a text tells its
category in plain words. The last category is the distractor. What causes what is the same in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xrec.data.module import Data
from xrec.errors import DataError


@dataclass(frozen=True)
class Dress:
    """The words of a world.

    action: what people do with items. title, text: how these are made of a make, a variant and a
    thing, and of a title and its category. kind, variant: the items' columns with the category and
    with what never matters; interest, taste: the users' columns with those that they like.
    """

    action: str
    title: str
    text: str
    kind: str
    variant: str
    interest: str
    taste: str
    things: Mapping[str, tuple[str, ...]]
    makes: tuple[str, ...]
    variants: tuple[str, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        """Their names; the rule knows them by their places."""
        return tuple(self.things)

    def kinds(self, data: Data) -> list[int]:
        """[N + 1] the category of each item; of padding the distractor, which pulls at nothing."""
        known = dict(zip(data.tables.items["item"], data.tables.items[self.kind], strict=True))
        names = self.categories
        return [len(names) - 1, *(names.index(known[item]) for item in data.items.ids[1:])]

    def interests(self, data: Data) -> list[int]:
        """[V] the category that each profile value states an interest in, or -1."""
        stated = {f"{self.interest}: {name}": at for at, name in enumerate(self.categories)}
        return [stated.get(name, -1) for name in data.profile.names]

    def fits(self, data: Data) -> bool:
        """Whether data are of a world in this dress."""
        items = data.tables.items
        if self.kind not in items.columns or self.interest not in data.profile.fields:
            return False
        return set(items[self.kind]) <= set(self.categories)


def worn(data: Data) -> Dress:
    """The dress of a world. Raises DataError where the data are not a planted world."""
    for dress in DRESSES.values():
        if dress.fits(data):
            return dress
    raise DataError(
        "these data are no planted world, whose rule is known: set data.dataset to planted"
    )


LANGUAGES = ("English", "French", "Spanish", "German", "Italian", "Japanese", "Hindi", "Korean")

DRESSES: Mapping[str, Dress] = {
    "shop": Dress(
        action="buy",
        title="{make} {variant} {thing}",
        text="{title}, for {kind}",
        kind="category",
        variant="colour",
        interest="interest",
        taste="favourite_colour",
        things={
            "camping": ("tent", "sleeping bag", "camp stove", "lantern", "folding chair"),
            "hiking": ("walking boots", "trekking poles", "trail map", "rucksack", "rain jacket"),
            "baking": ("cake tin", "rolling pin", "oven mitt", "mixing bowl", "pastry brush"),
            "tea": ("teapot", "tea towel", "porcelain cup", "tea strainer", "sugar bowl"),
            "gardening": (
                "watering can",
                "garden trowel",
                "flower pot",
                "pruning shears",
                "seed box",
            ),
            "reading": ("bookmark", "reading lamp", "book stand", "novel", "magazine rack"),
            "music": ("guitar strap", "metronome", "ukulele", "record player", "sheet music stand"),
            "fitness": ("yoga mat", "skipping rope", "dumbbell", "sweat band", "water bottle"),
            "painting": ("watercolour set", "easel", "brush case", "canvas", "sketch book"),
            "gift wrap": ("wrapping paper", "ribbon", "gift tag", "gift bag", "tissue paper"),
        },
        makes=("small", "sturdy", "plain", "striped", "light", "classic"),
        variants=("red", "blue", "green", "yellow", "black", "white", "purple", "orange"),
    ),
    "video": Dress(
        action="watch",
        title="{make} {thing} ({variant})",
        text="{title}, filed under {kind}",
        kind="genre",
        variant="language",
        interest="favourite_genre",
        taste="speaks",
        things={
            "western": ("Stagecoach", "Saloon", "Sheriff", "Gold Rush", "Cattle Drive"),
            "crime": ("Heist", "Detective", "Alibi", "Safe Cracker", "Mobster"),
            "romance": ("Wedding", "Love Letter", "First Kiss", "Honeymoon", "Valentine"),
            "horror": ("Haunted House", "Vampire", "Werewolf", "Graveyard", "Curse"),
            "science fiction": ("Starship", "Robot", "Time Machine", "Moon Base", "Alien Signal"),
            "war": ("Battalion", "Trench", "Submarine", "Ceasefire", "Bomber Crew"),
            "comedy": ("Practical Joke", "Clown", "Slapstick", "Awkward Dinner", "Prank"),
            "sport": ("Boxing Match", "Marathon", "Cup Final", "Grand Prix", "Home Run"),
            "nature": ("Coral Reef", "Rainforest", "Penguin Colony", "Wolf Pack", "Volcano"),
            "trailers": ("Teaser", "Preview", "First Look", "Sneak Peek", "Coming Attraction"),
        },
        makes=("The Last", "The Lost", "The Secret", "The Little", "Return of the", "Song of the"),
        variants=LANGUAGES,
    ),
    "social": Dress(
        action="follow",
        title="{make} {variant} {thing}",
        text="{title}, a channel on {kind}",
        kind="topic",
        variant="language",
        interest="follows",
        taste="speaks",
        things={
            "cooking": (
                "sourdough diary",
                "noodle bar",
                "spice rack",
                "family recipes",
                "soup pot",
            ),
            "travel": (
                "night trains",
                "backpack notes",
                "island hopping",
                "hostel tips",
                "passport",
            ),
            "gaming": ("speed runs", "pixel quest", "boss fights", "arcade corner", "dungeon maps"),
            "fashion": ("street style", "thrift finds", "sneaker wall", "capsule wardrobe", "hats"),
            "football": (
                "match day",
                "transfer rumours",
                "penalty kicks",
                "terrace songs",
                "goals",
            ),
            "photography": ("film rolls", "golden hour", "portraits", "street lens", "darkroom"),
            "money": ("savings plan", "index funds", "budget sheet", "side income", "tax tips"),
            "astronomy": ("night sky", "planet watch", "comet notes", "telescope club", "eclipses"),
            "pets": ("puppy school", "rescue cats", "aquarium", "parrot talk", "hamster maze"),
            "memes": ("reaction clips", "caption contest", "joke templates", "screenshots", "gifs"),
        },
        makes=("daily", "honest", "late-night", "weekend", "curious", "tiny"),
        variants=LANGUAGES,
    ),
}
