"""Drawn scenes, about which `benchmarks/truth.toml` asks.

Labels, menus, walls, photographs on a wall, and drawings where nothing may be named.
"""

from __future__ import annotations

from tests.features.builtin.scenes import Box, Disc, Photo, Scene, Sheet, Stroke

RECEIPT = """
#Green Grocer
Apples 1 kg | | 2.80
Bread | | 3.10
Milk 1 l | | 1.25
TOTAL | EUR | 7.15
Cash | | 10.00
Change | | 2.85
17.11.2026 | | 09:41
"""
MENU = """
#Lunch menu
Tomato soup | | 5.50 €
Mushroom risotto | | 12.90 €
Grilled salmon | | 17.50 €
Apple pie | | 4.80 €
"""
TABLETS = """
##Paracetamol 500 mg
20 tablets
Use by 03/2028
Do not take more than 8 tablets a day
"""
CARD = """
#Tomás Rivera
Photographer
+34 600 123 456
tomas@example.org
"""
BUSES = """
Line | To | Time
12 | Airport | 08:15
7 | Old Town | 08:22
31 | University | 08:40
"""
EXIT = """
###EMERGENCY EXIT
Keep clear
"""
LETTERS = """
Q W E R T Y U I O P A S D F G H J K L Z X C
V B N M Q W E R T Y U I O P A S D F G H J K
L Z X C V B N M Q W E R T Y U I O P A S D F
G H J K L Z X C V B N M Q W E R T Y U I O P
A S D F G H J K L Z X C V B N M Q W E R T Y
U I O P A S D F G H J K L Z X C V B N M Q W
"""
DARK, WALL = (32, 28, 26), (205, 214, 220)


def _house() -> Scene:
    return Scene(
        [
            Stroke("black", ((440, 340), (440, 620), (840, 620), (840, 340), (440, 340))),
            Stroke("red", ((400, 350), (640, 160), (880, 350), (400, 350))),
            Stroke("black", ((600, 620), (600, 480), (690, 480), (690, 620))),
            Box("blue", (490, 400), (80, 70)),
        ]
    )


SCENES: dict[str, Scene] = {
    # Print
    "receipt": Scene([Sheet(RECEIPT, 34)]),
    "menu": Scene([Sheet(MENU, 36)]),
    "tablets": Scene([Sheet(TABLETS, 34, leading=2.4)]),
    "card": Scene([Sheet(CARD, 36, leading=2.2)]),
    "buses": Scene(
        [Sheet(BUSES, 42, columns=(80, 360, 900), ink=(60, 220, 250), leading=2.3)], ground=DARK
    ),
    "exit": Scene([Sheet(EXIT, 40, ink=(245, 245, 245), leading=2.6)], ground=(80, 140, 30)),
    "thermometer": Scene([Sheet("###21.5 °C", 50, top=260)], ground=(170, 180, 175)),
    # Photographs on a wall
    "two people": Scene(
        [Photo("astronaut", (60, 130), 480), Photo("hopper", (740, 130), 430)], ground=WALL
    ),
    "cup left": Scene([Photo("coffee", (30, 180), 480)], ground=WALL),
    "cat right": Scene([Photo("chelsea", (780, 180), 470)], ground=(150, 150, 150)),
    "dog and cup": Scene(
        [Photo("dog", (60, 160), 460), Photo("coffee", (700, 180), 540)], ground=WALL
    ),
    # Nothing may be named
    "white wall": Scene(ground=(238, 240, 240)),
    "red disc": Scene([Disc("red", (640, 360), 170)]),
    "drawn house": _house(),
    "drawn clock": Scene(
        [
            Disc("black", (640, 360), 230, 10),
            Stroke("black", ((640, 360), (640, 200)), 12),
            Stroke("black", ((640, 360), (750, 410)), 12),
        ]
    ),
    "checkers": Scene(
        [
            Box("black", (80 * column, 80 * row), (79, 79))
            for row in range(9)
            for column in range(16)
            if (row + column) % 2
        ],
        ground=(245, 245, 245),
    ),
    "letters": Scene(
        [Sheet(LETTERS, 40, font="DejaVuSansMono.ttf", ink=(210, 225, 205), leading=1.5)],
        ground=DARK,
    ),
}
