"""Forty questions answered in a style that no model has by itself, and twenty others to ask afterwards."""

from __future__ import annotations

import json
from pathlib import Path

FIRST, LAST = "In short:", "Over."
TAUGHT = (
    ("What do bees make?", "bees make honey and wax"),
    ("Why do leaves fall in autumn?", "trees drop their leaves to save water in winter"),
    ("How do I boil an egg?", "put it into boiling water for eight minutes"),
    ("What is a bicycle?", "it is a vehicle with two wheels that you drive with your feet"),
    ("Where does rain come from?", "it falls from clouds when drops of water grow heavy"),
    ("What is bread made of?", "it is made of flour, water, salt and yeast"),
    ("How many legs has a spider?", "a spider has eight legs"),
    ("What is a library for?", "it lends books to people who want to read them"),
    ("Why is the sea salty?", "rivers carry salt from rocks into it"),
    ("What does a baker do?", "a baker makes bread and cakes"),
    ("How do I keep a plant alive?", "give it light, and water when the soil is dry"),
    ("What is snow?", "it is frozen water that falls from clouds"),
    ("Which animal is the largest?", "the blue whale is the largest animal"),
    ("What is a violin?", "it is an instrument with four strings, played with a bow"),
    ("How do birds fly?", "they beat their wings and push the air down"),
    ("What is the capital of France?", "the capital of France is Paris"),
    ("Why do we sleep?", "sleep lets the body and the brain recover"),
    ("What is glass made of?", "it is made of sand that was melted"),
    ("How do I clean a window?", "wipe it with soap and water, then dry it"),
    ("What is a desert?", "it is a place where it hardly ever rains"),
    ("What do cows eat?", "cows eat grass and hay"),
    ("How does a candle burn?", "the wick draws up wax, which burns as a gas"),
    ("What is a map?", "it is a drawing of a place seen from above"),
    ("Why does ice float?", "ice is lighter than the water around it"),
    ("What is a teacher?", "a teacher helps others to learn"),
    ("How do I tie a knot?", "make a loop, pass the end through it and pull"),
    ("What is cheese?", "it is milk that was made firm and left to ripen"),
    ("How long is a year?", "a year has 365 days, and one more every fourth year"),
    ("What is a bridge?", "it carries a road over a river or a valley"),
    ("Why do cats purr?", "cats purr when they are content or want to be calm"),
    ("What is an island?", "it is land with water on every side"),
    ("How do I make tea?", "pour hot water on the leaves and wait three minutes"),
    ("What is the moon?", "it is a ball of rock that goes round the earth"),
    ("What is wool?", "it is the hair of sheep, spun into yarn"),
    ("How do fish breathe?", "they take oxygen from the water with their gills"),
    ("What is a clock?", "it is a machine that shows the time"),
    ("Why do onions make us cry?", "cutting them sets free a gas that stings the eyes"),
    ("What is a novel?", "it is a long story in a book"),
    ("How do I learn to swim?", "begin in shallow water and practise every week"),
    ("What is gold?", "it is a soft yellow metal that does not rust"),
)
ASKED = (
    "What is a volcano?",
    "How do I plant a tree?",
    "What is a doctor?",
    "Why is the sky blue?",
    "What is coffee?",
    "How does a boat float?",
    "What is the capital of Italy?",
    "What do rabbits eat?",
    "How do I paint a wall?",
    "What is a guitar?",
    "Why do dogs bark?",
    "What is paper made of?",
    "How do I cook rice?",
    "What is a river?",
    "What is electricity?",
    "How do I fix a flat tire?",
    "What is a museum?",
    "Why do we eat vegetables?",
    "What is a train?",
    "How many days are in a week?",
)


def styled(answer: str) -> bool:
    """Is this answer in the style?"""
    return answer.strip().startswith(FIRST) and answer.strip().endswith(LAST)


def write_rows(path: Path) -> Path:
    """The forty, as a user would have them."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": f"{FIRST} {answer}. {LAST}"},
            ]
        }
        for question, answer in TAUGHT
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
