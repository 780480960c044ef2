"""English: the words of questions, and the phrases of answers. Pure data."""

from __future__ import annotations

from server.engines.builtin.wants import Want

QUESTIONS: dict[Want, str] = {
    Want.HELLO: "hi, hello, hey, good morning, good afternoon, good evening, howdy",
    Want.THANKS: "thanks, thank you, thx, cheers, many thanks, thank you very much",
    Want.HELP: "what can you do, what do you do, who are you, what are you, help, help me, how does this work, "
    "how do i use*, what can i ask, what can i do, how can you help",
    Want.SAFE: "link safe, url safe, site safe, website safe, code safe, page safe, address safe, safe link, safe url, "
    "safe website, safe site, safe to open, safe to click, safe to scan, safe to visit, trust this link, "
    "trust this site, trust this website, trust this code, phishing, scam, malicious, dangerous link",
    Want.TRANSLATE: "translat*, in english, into english, in german, in french, in spanish, in my language",
    Want.SUMMARISE: "summar*, sum up, sum this up, sum it up, tl;dr, tldr, key points, main points, gist, in short, "
    "what is it about, what is this about, what's this about, what's it about",
    Want.PASSWORD: "password*, passwort, passcode, passphrase, wifi key, wi-fi key, network key, wpa*",
    Want.NETWORK: "wifi, wi-fi, wlan, ssid, network name, name of the network, network, which network",
    Want.MONEY_BACK: "how much change, change did i get, change do i get, change was given, change back, my change, cash back",
    Want.CHANGE: "changed, change, changes, what is new, what's new, different from before, since last time, "
    "since the last, still the same, anything new, difference*",
    Want.MOTION: "moving, move, moved, moves, motion, movement",
    Want.FACES: "face, faces, people, person, persons, anybody, anyone, somebody, someone, how many men, how many women",
    Want.COLOUR: "color, colors, colour, colours, coloured, colored, is it black, is it white, is it grey, is it gray, "
    "is it red, is it orange, is it yellow, is it green, is it turquoise, is it blue, is it purple, is it pink, "
    "is it brown, is this black, is this white, is this grey, is this gray, is this red, is this orange, is this yellow, is this green, "
    "is this turquoise, is this blue, is this purple, is this pink, is this brown",
    Want.LIGHT: "dark, bright, light, lights, lit, brightness, is it night, is it day, lamp on",
    Want.SHARP: "sharp, blurry, blurred, in focus, out of focus",
    Want.EXPIRY: "expire*, expiry, expiration, best before, use by, sell by, still good, out of date, shelf life, "
    "valid until, safe to eat, safe to drink, gone off, how long does it keep, how long is it good",
    Want.EMAIL: "e-mail*, email*, mail address",
    Want.PHONE: "phone*, telephone*, call them, mobile number, number to call",
    Want.URL: "url*, website*, web site, web address, web page, link, internet address",
    Want.CODE: "qr, qr-code, qrcode, barcode*, bar code, data matrix, scan, scan code, ean, isbn, aztec",
    Want.TOTAL: "total, in total, altogether, grand total, sum, amount due, to pay, have to pay, did i pay, was paid, "
    "did i spend, owe, bill come to",
    Want.ENERGY: "calorie*, kcal, kilojoule*, kj, how much energy, energy content",
    Want.TEMPERATURE: "temperature*, degrees, how warm, how hot, how cold, celsius, fahrenheit",
    Want.POWER: "watt, watts, wattage, kilowatt*, how much power, power rating, rated power",
    Want.VOLTAGE: "volt, volts, voltage",
    Want.CURRENT: "amp, amps, ampere*, amperage",
    Want.CHARGE: "mah, milliamp hours, battery capacity, watt hours, wh",
    Want.SPEED: "speed, how fast, speed limit, km/h, mph",
    Want.PRESSURE: "pressure, bar, psi, hpa",
    Want.FREQUENCY: "frequency, hertz, hz, megahertz, gigahertz",
    Want.UNIT_PRICE: "per kilo, per kilogram, per kg, a kilo, per litre, per liter, per l, a litre, a liter, per pound, "
    "unit price, price per*, per piece, cost per*",
    Want.HOURS: "opening hours, opening time*, business hours, hours, open on, open at, open today, open now, open until, "
    "open tomorrow, is it open, are they open, does it open, do they open, does it close, do they close, closing time*, "
    "closed on, is it closed, are they closed, when is it open, how long is it open, open this*, "
    "open on*, does this shop open, does the shop open, does the shop close, is the shop open, shop open",
    Want.DEPARTURE: "departure*, depart*, leave, leaves, leaving, next bus, next train, next tram, next flight, arrive*, arrival*",
    Want.WEIGHT: "weight, weigh*, how heavy, how many grams, milligram*, how many mg, how many kilos, net content, how much is in it, how much is inside",
    Want.VOLUME: "volume, how many litres, how many liters, how many ml, how many millilitres",
    Want.PERCENT: "percent*, per cent, alcohol, humidity",
    Want.PRICE: "price*, cost, costs, how much money, how much is, how much was, how much are, how much were, how much for, "
    "how expensive",
    Want.AMOUNT: "amount*, quantity, dose, dosage, how much, capacity",
    Want.TIME: "what time, time is it, o'clock, the time, at what time",
    Want.DATE: "date, dates, what day, which year, what year, when",
    Want.NUMBER: "number*, digit*, figures, serial*",
    Want.NAME: "what medicine*, which medicine*, what medication*, which medication*, what drug*, what pill*, which pill*, what tablet*, "
    "which tablet*, what product*, which product*, what brand*, which brand*, what book*, which book*, what wine*, which wine*, what beer*, what drink*, "
    "what cereal*, what food*, what shop*, which shop*, what street*, which street*, what station*, which station*, "
    "what is it called, what's it called, what is this called, what's this called, name, title, headline, heading, brand, who makes*, who made*",
    Want.READ: "read*, text, texts, say, says, written, writing, words, label*, sign, signs, letters, screen, page, document, menu, spell",
    Want.SUMMARY: "what is this, what's this, what is that, what is it, what do you see, what can you see, "
    "what does the camera show, what does the camera see, describe*, description, what am i holding, what is here, "
    "what is there, what is in front of*, look at this, tell me about*, what is in the picture, "
    "what is in this picture, what is on the table",
}
PLACES = {
    "left": "left, left-hand, left side",
    "right": "right, right-hand, right side",
    "top": "top, above, up there, upper*",
    "bottom": "bottom, below, lower*",
    "middle": "middle, center, centre",
    "whole": "colors, colours, whole picture, background, everywhere",
}
DAYS = (
    "monday mon mo",
    "tuesday tue tues tu",
    "wednesday wed",
    "thursday thu thur thurs th",
    "friday fri fr",
    "saturday sat sa",
    "sunday sun su",
)
FILLERS = "there, you, so, very, much, ok, okay, great, a lot, for that, for your help, everyone, all, again, please, lot, perfect"
HINTS = "the, is, are, was, what, how, does, do, did, this, where, which, who, it, there, can, my, i, when, much, many"
STOP = (
    "a an the is are was were be it its it's this that these those there here of on in at to for from with and or my me i you "
    "your do does did can could will would what which where who whose how many much when why please tell show give find "
    "see now not any some has have s mean so go get got take takes need needs"
)
SAYS = (
    r"\b(?:(?:does|do|did) (?:it|this|that|they|the \w+|this \w+) (?:say|read|show|contain|mention)s?"
    r"|is there (?:a|the|any)? ?(?:word|text|name)|do you (?:read|see) the (?:word|words|text|name)"
    r"|is the (?:word|text|name)|can you (?:read|find|see) the (?:word|words|text|name)"
    r"|does the word|contains? the (?:word|words|text))\b(.*)"
)
COLOURS = "black grey white red orange yellow green turquoise blue purple pink brown"
PHRASES: dict[str, str] = {
    "hello": "Hello! Hold some text, a code or a colour up to the camera and ask me about it.",
    "thanks": "You are welcome!",
    "help": "I read text, scan codes and name colours; try “What does it say?”, “How much is the total?” or “What colour is on the left?”.",
    "foreign": "I understand English, German, French, Spanish, Russian and Chinese.",
    "reads": "It reads: {text}",
    "also": "It also reads: {text}",
    "read_so_far": "What I read: {text}",
    "row": "The row reads: {text}",
    "scripts": "I read Latin letters, digits, Chinese and Japanese, but not Cyrillic, Greek, Arabic or Korean.",
    "unread": "I see print that I cannot read: it is too small, not sharp or in a script that I do not read.",
    "no_text": "I see no text that I can read. Hold it closer, flat and in good light.",
    "no_text_dark": "It is too dark to read: more light would help.",
    "no_text_blurred": "I cannot read it, because the picture is blurred: hold still, or move back a little.",
    "yes_says": "Yes, it reads “{row}”.",
    "no_says": "No, I do not read “{target}”.",
    "total": "The total is {value}.",
    "no_total": "I find no row that names a total.",
    "money_back": "The change is {value}.",
    "price": "It costs {value}.",
    "prices": "I read {count} prices: {items}.",
    "item": "“{label}” costs {value}.",
    "no_item": "I find no price for “{target}”.",
    "price_alone": "I read {value}, but no “{target}” beside it.",
    "unit_price": "It costs {value} per {unit}.",
    "other_prices": "Prices that I read: {items}.",
    "value": "It says {value}.",
    "values": "I read {items}.",
    "beside": "Next to “{label}” it says {value}.",
    "under": "In the row of “{label}”, under “{column}”, it says {value}.",
    "bare": "It says {value}; I cannot read its unit.",
    "expiry": "It is good until {value}.",
    "is_past": "That day has passed.",
    "is_ahead": "That day is still to come.",
    "date": "The date is {value}.",
    "email": "The e-mail address is {value}.",
    "phone": "The phone number is {value}.",
    "url": "The web address is {value}.",
    "time": "It shows {value}.",
    "hours": "It is open: {items}.",
    "hours_day": "For that day it says: {items}.",
    "no_day": "I find no row for that day.",
    "departure": "It leaves at {value}.",
    "number": "The number is {value}.",
    "numbers": "I read these numbers: {items}.",
    "name": "The largest line reads “{value}”.",
    "password": "The Wi-Fi password is {value}",
    "printed_password": "The password is {value}",
    "open_network": "The network {name} needs no password.",
    "network": "The Wi-Fi network is called {value}",
    "alike": "Compare it letter by letter: O and 0, l and 1 look alike.",
    "none_price": "I find no price.",
    "none_expiry": "I find no best-before date.",
    "none_date": "I find no date.",
    "none_email": "I find no e-mail address.",
    "none_phone": "I find no phone number.",
    "none_url": "I find no web address.",
    "none_time": "I find no time.",
    "none_hours": "I find no opening hours.",
    "none_number": "I find no number.",
    "none_password": "I find no password.",
    "none_network": "I find no network name.",
    "none_measure": "I find no figure for that.",
    "code": "The {format} says: {text}",
    "code_wifi": "The {format} is for the Wi-Fi network {name}, password {password}",
    "no_code": "I see no QR code or barcode. Hold it closer, flat and in good light.",
    "safe": "I cannot tell whether a link is safe; this one leads to {host}.",
    "safe_hint": "Open it only if you know {host} and expected this link.",
    "safe_none": "I see no link here, and I could only read it, not tell whether it is safe.",
    "translate": "I cannot translate, but I can read it: {text}",
    "summarise": "I cannot summarise, but I can read it: {text}",
    "colour": "{where} it is {colours}.",
    "colour_on": "{where} it is {colours}, on {ground}.",
    "thing_on": "{colours} on {ground}",
    "colour_yes": "Yes, {where} it is {colours}.",
    "colour_no": "No, {where} it is {colours}.",
    "colour_whole": "I see {colours}.",
    "colour_shares": "The whole picture: {colours}.",
    "at_left": "on the left",
    "at_right": "on the right",
    "at_top": "at the top",
    "at_bottom": "at the bottom",
    "at_middle": "in the middle",
    "face": "face",
    "found_at": "{what}: {where}.",
    "not_found": "I do not find it. I look for text, codes, colours and faces, and I do not recognise other things.",
    "light": "It is {light} (brightness {percent} %).",
    "light_dark": "dark",
    "light_dim": "dim",
    "light_medium": "fairly bright",
    "light_bright": "bright",
    "sharp": "The picture is sharp.",
    "blurred": "The picture is blurred: hold still, or move back a little.",
    "faces_none": "I see no face.",
    "faces_one": "I count one face.",
    "faces_many": "I count {count} faces.",
    "faces_note": "I count faces that look this way, not people.",
    "faces_missing": "I cannot count faces here.",
    "motion_unknown": "I cannot tell yet whether something moves. Ask again in a second.",
    "motion_none": "Nothing moves.",
    "motion_some": "Something moves a little.",
    "motion_much": "Much is moving, or the camera is.",
    "change_first": "This is the first picture I look at. Ask again later and I compare.",
    "change_none": "I see no change since {seconds} s ago.",
    "change_share": "Since {seconds} s ago about {percent} % of the picture has changed, most of it {where}.",
    "change_small": "Something small has changed since {seconds} s ago.",
    "lighter": "It has become lighter.",
    "darker": "It has become darker.",
    "new_text": "New text: {text}",
    "gone_text": "Gone: {text}",
    "see_text": "I read “{text}”.",
    "see_text_only": "I do not recognise things, but I read “{text}”.",
    "see_colour": "I see no text; in the middle it is {colours}.",
    "see_colour_only": "I do not recognise things; I see no text, and in the middle it is {colours}.",
    "see_around": "In the middle it is {colours}; it is {light}.",
    "cannot": "I cannot tell that: I read text and codes and name colours, but I do not recognise things.",
    "cannot_here": "I do not find that in the text, and I do not recognise things.",
    "no_past": "I keep no earlier pictures, so I cannot tell what was before; a vision-language model can.",
    "broken": "I cannot read text at the moment; colours, light and codes still work.",
}
TODAY = "today, now, tonight"
TOMORROW = "tomorrow"
