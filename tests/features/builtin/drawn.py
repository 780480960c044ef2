"""Drawn scenes, about which `benchmarks/truth.toml` asks.

Labels, menus, codes, screens and walls, coloured things, photographs on a wall, and drawings where nothing
may be named.
"""

from __future__ import annotations

from tests.features.builtin.scenes import Barcode, Box, Digits, Disc, Photo, Scene, Sheet, Stroke

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
KASSENBON = """
#Drogerie am Markt
Zahnpasta | | 1,95
Seife | | 0,85
Shampoo | | 3,45
Summe | EUR | 6,25
Gegeben | | 10,00
Rückgeld | | 3,75
"""
MENU = """
#Lunch menu
Tomato soup | | 5.50 €
Mushroom risotto | | 12.90 €
Grilled salmon | | 17.50 €
Apple pie | | 4.80 €
"""
SPEISEKARTE = """
#Tageskarte
Linsensuppe | | 5,20 €
Gulasch mit Knödel | | 13,80 €
Käsespätzle | | 10,50 €
Apfelstrudel | | 4,60 €
"""
TABLETS = """
##Paracetamol 500 mg
20 tablets
Use by 03/2028
Do not take more than 8 tablets a day
"""
JAR = """
##Strawberry jam
Net weight 340 g
Best before 14.08.2027
Keep cool after opening
"""
DOOR = """
#City Pharmacy
Mon - Fri | 8:30 - 19:00
Saturday | 9:00 - 14:00
Sunday | closed
"""
PARCEL = """
To: Miriam Okafor
14 Harbour Street
Bristol BS1 4QD
Tracking no. 7730-4418-92
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
NOTICE = """
#Water is off
on Thursday 26 November
from 9:00 to 12:30
"""
EXIT = """
###EMERGENCY EXIT
Keep clear
"""
CODE = """
def total(rows):
    found = 0
    for row in rows:
        if row.price is None:
            continue
        found += row.price * row.count
    return found

class Basket:
    def __init__(self, rows):
        self.rows = rows
        self.total = total(rows)
"""
PAGE = """
It was a bright cold morning in the harbour and the
boats had not gone out. Nobody on the quay knew why
the old lighthouse keeper had shut his door, nor how
long he meant to keep it so. The gulls walked up and
down the wall like people waiting for a train that
is late, and the tide came in without a sound. When
the bell rang at ten the first of the fishermen went
home, and the others followed him one after another.
"""
LETTERS = """
Q W E R T Y U I O P A S D F G H J K L Z X C
V B N M Q W E R T Y U I O P A S D F G H J K
L Z X C V B N M Q W E R T Y U I O P A S D F
G H J K L Z X C V B N M Q W E R T Y U I O P
A S D F G H J K L Z X C V B N M Q W E R T Y
U I O P A S D F G H J K L Z X C V B N M Q W
"""
SHEET = """
Month | North | South
January | 1204 | 988
February | 1330 | 1012
March | 1275 | 1106
April | 1490 | 1238
May | 1602 | 1311
"""
MAIL = """
From: Library
Subject: Your book is due
Please return The Silent Sea
by 30 November. Thank you!
"""
MONO = "DejaVuSansMono.ttf"
DARK, WOOD, WALL = (32, 28, 26), (70, 110, 160), (205, 214, 220)


def _screen(text: str, size: int = 30) -> Scene:
    return Scene([Sheet(text, size, font=MONO, ink=(210, 225, 205), leading=1.5)], ground=DARK)


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
    "kassenbon": Scene([Sheet(KASSENBON, 36)]),
    "menu": Scene([Sheet(MENU, 36)]),
    "speisekarte": Scene([Sheet(SPEISEKARTE, 36)], ground=(200, 230, 240)),
    "tablets": Scene([Sheet(TABLETS, 34, leading=2.4)]),
    "jar": Scene([Sheet(JAR, 36, leading=2.4)], ground=(190, 190, 245)),
    "door": Scene([Sheet(DOOR, 40, columns=(90, 520), leading=2.2)], ground=(225, 215, 200)),
    "parcel": Scene([Sheet(PARCEL, 38, leading=2.2)], ground=(150, 185, 210), turn=4),
    "card": Scene([Sheet(CARD, 36, leading=2.2)]),
    "buses": Scene(
        [Sheet(BUSES, 42, columns=(80, 360, 900), ink=(60, 220, 250), leading=2.3)], ground=DARK
    ),
    "notice": Scene([Sheet(NOTICE, 42, leading=2.2)], ground=(120, 225, 250)),
    "exit": Scene([Sheet(EXIT, 40, ink=(245, 245, 245), leading=2.6)], ground=(80, 140, 30)),
    "thermometer": Scene([Digits("21.5", "°C", at=(320, 240))], ground=(170, 180, 175)),
    "mail": _screen(MAIL, 38),
    # Codes
    "poster code": Scene(
        [
            Barcode("https://example.org/concert", at=(820, 300), scale=8),
            Sheet("##Choir concert\n12.12.2026 at 19:30", 38, leading=2.4),
        ]
    ),
    "wifi code": Scene(
        [
            Barcode("WIFI:T:WPA;S:Harbour Cafe;P:blue-anchor-7;;", at=(480, 220), scale=9),
            Sheet("#Guest Wi-Fi", 38),
        ]
    ),
    "parcel code": Scene(
        [
            Barcode("4006381333931", "EAN13", at=(420, 250), scale=5),
            Sheet("Felt tip pens, 12 colours", 38),
        ],
        ground=(150, 185, 210),
    ),
    "cup and code": Scene(
        [Photo("coffee", (60, 160), 600), Barcode("https://example.org/menu", at=(860, 240))],
        ground=WALL,
    ),
    "part code": Scene(
        [
            Barcode("PART-8842-C", "DataMatrix", at=(520, 240), scale=12),
            Sheet("Pump seal, 2 pieces", 36),
        ]
    ),
    # Colours
    "red disc": Scene([Disc("red", (640, 360), 170)]),
    "blue box": Scene([Box("blue", (440, 200), (400, 320))], ground=WALL),
    "yellow left": Scene([Box("yellow", (60, 200), (300, 320)), Disc("green", (1040, 380), 150)]),
    "purple on brown": Scene([Disc("purple", (640, 360), 190)], ground=WOOD),
    "orange bottom": Scene([Disc("orange", (640, 590), 110)], ground=(245, 245, 245)),
    # Photographs on a wall: people, and where a thing is
    "two people": Scene(
        [Photo("astronaut", (60, 130), 480), Photo("hopper", (740, 130), 430)], ground=WALL
    ),
    "three people": Scene(
        [
            Photo("astronaut", (20, 200), 390),
            Photo("hopper", (450, 180), 340),
            Photo("camera", (850, 200), 400),
        ],
        ground=WALL,
    ),
    "person and cat": Scene(
        [Photo("hopper", (60, 120), 430), Photo("chelsea", (680, 200), 520)], ground=WALL
    ),
    "cup left": Scene([Photo("coffee", (30, 180), 480)], ground=WALL),
    "cat right": Scene([Photo("chelsea", (780, 180), 470)], ground=(150, 150, 150)),
    "dog and cup": Scene(
        [Photo("dog", (60, 160), 460), Photo("coffee", (700, 180), 540)], ground=WALL
    ),
    # Nothing may be named
    "white wall": Scene(ground=(238, 240, 240)),
    "grey wall": Scene([Stroke("grey", ((0, 600), (1280, 590)), 10)], ground=(190, 196, 200)),
    "blue wall": Scene(ground=(190, 140, 90)),
    "dark room": Scene(ground=(14, 13, 12)),
    "dim wall": Scene(ground=WALL, light=0.3),
    "blurred wall": Scene([Box("brown", (300, 0), (40, 720))], ground=WALL, blur=9),
    "drawn house": _house(),
    "drawn face": Scene(
        [
            Disc("yellow", (640, 360), 220),
            Disc("black", (560, 300), 24),
            Disc("black", (720, 300), 24),
            Stroke("black", ((540, 430), (590, 470), (640, 482), (690, 470), (740, 430)), 12),
        ]
    ),
    "drawn cat": Scene(
        [
            Disc("grey", (640, 400), 180),
            Stroke("grey", ((490, 310), (500, 150), (610, 240)), 0),
            Stroke("grey", ((670, 240), (780, 150), (790, 310)), 0),
            Disc("green", (570, 370), 26),
            Disc("green", (710, 370), 26),
            Stroke("black", ((640, 430), (600, 470)), 8),
            Stroke("black", ((640, 430), (680, 470)), 8),
        ]
    ),
    "drawn car": Scene(
        [
            Box("red", (340, 360), (600, 150)),
            Stroke("red", ((440, 360), (520, 250), (760, 250), (840, 360)), 0),
            Disc("black", (470, 520), 64),
            Disc("black", (820, 520), 64),
        ]
    ),
    "drawn clock": Scene(
        [
            Disc("black", (640, 360), 230, 10),
            Stroke("black", ((640, 360), (640, 200)), 12),
            Stroke("black", ((640, 360), (750, 410)), 12),
        ]
    ),
    "drawn person": Scene(
        [
            Disc("black", (640, 180), 70, 8),
            Stroke("black", ((640, 250), (640, 450)), 8),
            Stroke("black", ((520, 330), (760, 330)), 8),
            Stroke("black", ((540, 620), (640, 450), (740, 620)), 8),
        ]
    ),
    "bars": Scene(
        [
            *(
                Box("blue", (220 + 150 * n, 600 - h), (90, h))
                for n, h in enumerate((140, 260, 210))
            ),
            *(Box("orange", (670 + 150 * n, 600 - h), (90, h)) for n, h in enumerate((340, 410))),
            Stroke("black", ((180, 120), (180, 600), (1120, 600)), 5),
        ],
        ground=(245, 245, 245),
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
    "stripes": Scene([Box("green", (80 * n, 0), (39, 720)) for n in range(16)], ground=WALL),
    "program": _screen(CODE),
    "letters": _screen(LETTERS, 40),
    "page": Scene([Sheet(PAGE, 34, font="DejaVuSerif.ttf", leading=2.0)]),
    "table": Scene([Sheet(SHEET, 38, leading=2.2)], ground=(245, 245, 245)),
}
