"""Wordings of questions that tell what they ask for, beyond the words of each language. Pure data.

All are for `plain` questions; see `server.models.routing`.
"""

from __future__ import annotations

import re

from server.models.routing import plain

NEXT = frozenset(
    plain(
        "next nächste nächster nächsten prochain prochaine próximo próxima prossimo prossima volgende następny najbliższy следующий наступний sonraki"
    ).split()
)
FIRST = frozenset(
    plain(
        "first erste erster ersten premier première primer primero primera primo prima primeiro primeira eerste pierwszy первый перший ilk"
    ).split()
)
LAST = frozenset(
    plain(
        "last letzte letzter letzten dernier dernière último última ultimo ultima laatste ostatni последний останній son"
    ).split()
)
# Which of several departures is asked about
ORDER = NEXT | FIRST | LAST
# No time answers "Where does the bus go?".
WHERE = re.compile(
    r"^\W*(?:where|wo|wohin|ou|donde|adonde|dove|onde|aonde|waar|waarheen|gdzie|dokad|где|куда|де|куди|nerede|nereye|اين"
    r"|कहाँ|किधर|哪里|哪儿|どこ|어디)(?!\w)"
)
# No place in the picture answers "Where is it made?".
ORIGIN = re.compile(
    r"(?<!\w)(?:made|produced|manufactured|grown|bottled|brewed|from|hergestellt|produziert|gemacht|stammt|woher|fabriquee?|produite?"
    r"|vient|provient|hech[oa]|fabricad[oa]|producid[oa]|viene|fatt[oa]|prodott[oa]|feit[oa]|produzid[oa]|vem|gemaakt|geproduceerd"
    r"|vandaan|zrobion\w+|wyprodukowan\w+|pochodzi|uretil\w+|yapil\w+|сделан\w*|произвед\w+|откуда|зроблен\w*|вироблен\w*"
    r"|звідки)(?!\w)|产自|生产|製造|생산|صنع|बना"
)


WHEN = re.compile(
    r"^\W*(?:by |until |bis |an |fino a |entro |jusqu'a |hasta |ate |do |tot )?(?:when|(?:what|which) da(?:te|y)|que (?:dia|fecha)|che giorno|quel jour|welke dag|welchem tag|wann|quand|cuando|quando|wanneer|kiedy|когда|коли|ne zaman)\b"
)
# Words for help, which may be a part of another question
HELP = frozenset(
    plain("help hilfe aide ayuda aiuto ajuda hulp pomoc помощь допомога yardım").split()
)
NAME = frozenset({"name", "nom", "nombre", "nome", "naam"})
MY = re.compile(
    r"\b(?:my|mein|meine|mon|ma|mi|mio|mia|meu|minha|mijn|moj|moje|benim)\b|\bмо[йяе]\b"
)
ABOUT = re.compile(
    r"\b(?:about|regarding|uber|au sujet|a propos|acerca|riguardo|dotyczy|hakkinda)\b|关于|について"
)
# "Does it give change?"
COINS = re.compile(r"\b(?:gives?|have|need|exact) (?:any |me |the )?change\b|\bchange for\b")
# What stands before the name of a thing
ARTICLE = re.compile(
    r"an?|any|the|my|your|our|some|d(?:er|ie|as|em|en)|(?:m|k|uns)?ein\w{0,2}|une?|l[ae]s?|m(?:on|a|es)|des|du|una|el|l[oa]s|mis?|il|gli|mi[oa]|os?|as|um|uma|meu|minha|het|de|een|mijn"
)
# "If I change to another company"
CHANGES = re.compile(
    r"\b(?:i|we|you|they) (?:(?:have|need) to |must |should )?change\b|\bchange (?:to|trains?|bus(?:es)?)\b"
)
# "How long does it keep once I've opened it?"
OPENED = re.compile(
    r"\bopened\b|\b(?:once|after) (?:\w+ ){0,4}open(?:ing)?\b|\bnach (?:dem |der )?(?:ersten )?(?:offnen|offnung|anbrechen|anbruch)\b"
    r"|\bangebrochen\w*|\beinmal (?:geoffnet|offen)\b|\b(?:une fois|apres) (?:\w+ ){0,3}(?:l.)?(?:ouvert|entam)\w*|\bune fois .{0,30}\bentame"
    r"|\b(?:una vez|despues de|tras) (?:\w+ ){0,2}abi?er\w*|\b(?:una volta|dopo) (?:\w+ ){0,2}(?:l.)?aper\w+|\b(?:depois de|uma vez|apos) (?:\w+ ){0,2}ab(?:e|ri)r?\w*"
    r"|\b(?:na|eenmaal) (?:het )?(?:open\w*|geopend)|\baangebroken\b|\bpo otwarciu\b"
)
# "Are there people in the boats?"
THERE_ARE = re.compile(
    r"^\W*(?:is|are) there\b|^\W*(?:gibt es|sind|y a|il y a|hay|ci sono|zijn er|czy sa|ha) "
)
# No plate to eat from, and no fruit: "an orange one"
NO_THING = re.compile(r"\b(?:number|licen[cs]e|name) plates?\b|\b\w{1,20} ones?\W*$")
# What is asked for is no difference of two looks.
WHICH = re.compile(r"^\W*(?:which|where)\b")
# Light that is paid for: "luz" is electricity, too.
USED_UP = re.compile(r"\bluz\b.{1,40}\b(?:gast|consum)(?:ad[oa]|amos|o|ei)\b")
# Lamps, and not how bright it is
LIGHTS = re.compile(
    r"\blights\b|^\W*which light\b|^\W*welche\w* (?:licht|lampe|ampel)\b|^\W*quel feu\b"
)
# "What does the red light mean?"
MEANS = re.compile(
    r"\b(?:mean|means|bedeutet|heisst|signifie|significa|betekent|oznacza)\b|означает|означає|意思"
)
# "Who should I vote for?"
ADVICE = re.compile(
    r"^\W*(?:(?:who|which(?: \w+)?) )?should (?:i|we)\b|^\W*(?:(?:wen|welche\w*(?: \w+)?) )?soll(?:te)? ich\b"
)
# "Who sent it?" and "Who is this letter from?"
SENT = re.compile(
    r"^\W*who (?:is|was) (?:it|this|that|the)(?: \w+)? from\W*$|^\W*who (?:sent|wrote|signed) \w+(?: \w+)?\W*$"
    r"|^\W*wer hat \w+(?: \w+)? (?:geschickt|geschrieben|unterschrieben)|^\W*qui (?:l'?)? ?a (?:envoye|ecrit)"
    r"|^\W*quien (?:lo )?(?:envia|ha enviado|escribio|ha escrito)|^\W*chi (?:l'?)? ?ha (?:mandato|spedito|scritto)"
)
# "Who is the parcel for?"
FOR_WHOM = re.compile(
    r"^\W*(?:whose(?! turn\b)|wessen|de quien|di chi|de quem|van wie|czyj\w*|kimin)\b|^\W*a qui (?:est|appartient)\b|"
    r"^\W*who (?:is|was) (?:it|this|that|the)(?: \w+)? (?:for|to|addressed to)\W*$"
    r"|^\W*(?:pour qui|para quien|per chi|para quem) (?:est|es|e)\b|^\W*(?:fur wen|voor wie) (?:ist|is)\b"
    r"|^\W*(?:who (?:got|gets|received|won)|wer (?:hat|bekam|bekommt)|qui a (?:recu|gagne)|quien (?:recibio|gano)|chi ha (?:ricevuto|vinto))"
    r" (?:it|this|that|the|das|die|den|dies\w*|ce\w*|l[ea]|el|est[ea]|il|quest[ao])(?: \w+)?(?: (?:bekommen|erhalten|gewonnen))?\W*$"
)
# "How many people is it for?" of a recipe or a table
SERVES = re.compile(
    r"\bhow many (?:people )?(?:(?:is|are|does|do|can|will) (?:it|this|that|they|these|the \w+) (?:for|serve|feed)|for)\W*$"
    r"|\bfur wie viele (?:personen|leute)|\bpour combien de personnes|\bpara cuant[ao]s personas|\bper quante persone"
    r"|\bpara quantas pessoas|\bvoor hoeveel (?:personen|mensen)|\bdla ilu osob|\bkac kisilik|на сколько (?:человек|персон)|на скільки (?:осіб|людей)"
)
CODE = re.compile(r"\b(?:qr|qr-?code|code|codigo|codice|kod)\b")
# "Is there a green one?"
ONE = re.compile(r" ones?$")
WORN = re.compile(r"\b(?:her|his|my|your|their) top\b(?! of)")
SHUT = re.compile(
    r"\b(?:closed|geschlossen|fermee?s?|cerrad[oa]s?|chius[oaie]|fechad[oa]s?|gesloten|zamknie\w+|kapali)\b"
)
# "When is it closed for cleaning?"
CLOSED_FOR = re.compile(
    r"\b(?:close[ds]? for|geschlossen wegen|ferme\w* pour|cerrad\w* por|chius\w* per) \w"
)
# "How often do I take it?"
OFTEN = re.compile(
    r"\b(?:how often|how frequently|wie oft|wie haufig|combien de fois|a quelle frequence|cada cuanto|cuantas veces|con que frecuencia|ogni quanto|quante volte"
    r"|com que frequencia|quantas vezes|de quanto em quanto|hoe vaak|jak czesto|ile razy|ne siklikta|kac kez|как часто|сколько раз|як часто|скільки разів)\b"
    r"|多久一次|几次|幾次|何回|どのくらいの頻度|얼마나 자주|몇 번|كم مرة|कितनी बार"
)
# "What kind of code is this?"
CODE_KIND = re.compile(
    r"\b(?:kind|type|sort) of (?:qr ?|bar ?)?code\b|\bwas fur ein code\b|\b(?:type|sorte) de code\b|\btipo de codigo\b|\btipo di codice\b|\bsoort code\b"
)
# "What food is this?"
FOOD = re.compile(
    r"^(?:what|which) (?:food|meal|dish|fruit|vegetable|drink|cake|snack)s?$|^(?:welches?|was fur(?: ein(?:e[nr]?)?)?) (?:essen|speise|frucht|obst|gericht|getrank)$"
    r"|^quel(?:le)?s? (?:fruit|plat|aliment|boisson|legume)s?$|^que (?:fruta|comida|plato|bebida)s?$|^che (?:frutto|cibo|piatto|bevanda)$"
)
# "Why is it closed?"
WHY = re.compile(
    r"^\W*(?:why|how come|warum|wieso|weshalb|pourquoi|por que|porque|perche|per che|waarom|dlaczego|czemu|neden|niye|nicin|почему|отчего|чому)(?!\w)"
    r"|为什么|為什麼|为何|なぜ|どうして|왜|لماذا|क्यों"
)
# "What does the cat look like?"
LOOKS_LIKE = re.compile(
    r"\b(?:looks? like|sieht .{1,40} aus\b|aussehen|ressemblent?|a quoi ressemble|que aspecto|que pinta|che aspetto|come e fatt[oa]|que aparencia"
    r"|eruit|wyglada|nasil gorunuyor|выглядит|виглядає)"
)
# "Where am I flying to?"
TRAVELS = re.compile(
    r"^\W*where (?:does|is|do|will) (?:it|this|that|(?:(?:this|the|my) )?(?:flight|train|bus|tram|ferry|coach|boat|line)(?: \w+)?) (?:go|going|run)\b"
    r"|\b(?:am|are|is|do|does|will) (?:i|we|it|this|the \w+) (?:fly\w*|travel\w*|going|head\w*)\b(?!.{0,60} from\b)"
    r"|^\W*where is (?:this|the|my) (?:flight|train|bus|tram|ferry|coach|boat|ticket) (?:to|for)\b"
    r"|\b(?:flieg\w*|fahr(?:e|en|t)|reis(?:e|en|t)) (?:ich|wir|er|sie|es)\b|\bvoy(?:ager?)?\b|\bvuelo\b|\bvolo\b|\bvoo\b|\bvlieg\w*\b|\blece\b"
)
# "Wie viel muss ich bezahlen?"
PAYS = re.compile(
    r"pay|paid|paye\w*|paie|regler|zahl\w*|bezahl\w*|pag(?:ar\w*|o|at[oa]|amento)|betal\w*|zaplac\w*|ode\w*|оплат\w*|заплат\w*|сплат\w*"
)
# "What animal is that?"
ANIMAL = re.compile(
    r"\b(?:anima(?:ls?|les?|li|is|ux)|tiere?|dier(?:en)?|zwierz\w*|hayvan\w*|животн\w*|тварин\w*)\b|动物|動物|동물|حيوان|जानवर"
)
ANYTHING = re.compile(
    r"\b(?:(?:any|some|no)thing|(?:irgend)?etwas|irgendwas|was|quelque chose|algo|alguna cosa|qualcosa|alguma coisa|iets|cos|bir sey)\b|что-нибудь|что-то|щось"
)
# "Did I leave my keys here?"
LEFT_BEHIND = re.compile(
    r"^\W*(?:did|have) (?:i|we|you|he|she|they) (?:leave|left|forget|forgotten)\b"
)
# "What happens if I don't turn up?"
STAYS_AWAY = re.compile(r"\b(?:not|don.?t|doesn.?t|can.?t) (?:turn|show) up\b")
# What somebody holds is no face.
HOLDS = re.compile(
    r"\b(?:hold\w*|halte\w*|tiens|tient|tenons|sosteng\w*|tengo|tenendo|segurando|seguro|vasthoud\w*|houd|trzym\w*|tutu\w*|держ\w*|трима\w*)\b"
    r"|拿|持|들고|أمسك|पकड़"
)
WEARS = re.compile(
    r"\b(?:wear\w*|tragt|trage|porte|lleva|indossa|veste|draagt|nosi|giy\w*|надето|носит|вдягнен\w*)\b"
)
# Two places at once
CORNER = re.compile(
    r"\b(?:corners?|ecke|(?:au|dans le|du) coin|esquina|angolo|hoek)\b|\b(?:top|upper|bottom|lower)[ -](?:left|right)\b|\b(?:oben|unten) (?:links|rechts)\b"
    r"|\ben (?:haut|bas) a (?:gauche|droite)\b|угл|кут|左上|右上|左下|右下"
)
# Of glasses the sunny ones alone are known.
GLASSES = re.compile(r"\b(?:wear\w*|got|have|has) (?:\w+ )?(?:glasses|spectacles|eyeglasses)\b")
# What somebody wears below the face
CLOTHES = re.compile(
    r"\b(?:(?:her|his|my|your|their) top|t-?shirts?|shirt|sweater|jumper|pullover|jacket|coat|dress|blouse|hoodie|suit|clothes|clothing|cardigan|blazer|uniform"
    r"|hemd|pulli|jacke|mantel|kleid|bluse|anzug|kleidung|oberteil|chemise|chemisier|pull|veste|manteau|robe|costume|vetements?|camis[ao]l?\w*|camicia|camicetta"
    r"|sueter|jersey|chaqueta|abrigo|vestid?[oi]|blusa|traje|ropa|maglia|maglietta|maglione|giacca|cappotto|abito|casaco|jaqueta|terno|fato|roupa"
    r"|trui|jas|jurk|kleren|kleding|koszul\w*|swet[er]\w*|bluz\w*|kurtk\w*|plaszcz\w*|sukienk\w*|ubran\w*|gomle\w*|kazag?k?\w*|ceket\w*|elbise\w*|tisort\w*"
    r"|рубаш\w*|свитер\w*|светр\w*|куртк\w*|пальто|плать\w*|футболк\w*|одежд\w*|кофт\w*|костюм\w*|сорочк\w*|сукн\w*|одяг\w*)\b"
    r"|衬衫|上衣|衣服|外套|毛衣|夹克|シャツ|服|ジャケット|セーター|コート|셔츠|옷|재킷|스웨터|코트|قميص|سترة|معطف|فستان|ملابس|शर्ट|कपड़|जैकेट|स्वेटर"
)
# "On her head" and "on her feet" it is not.
ELSEWHERE = re.compile(
    r"\bon (?:his|her|their|my|your|the) |\b(?:hat|cap|shoes?|trousers|jeans|skirt|glasses|hut|schuhe|hose|brille|chapeau|chaussures|pantalon|lunettes|sombrero|zapatos|gafas|cappello|scarpe|occhiali)\b"
)
# What a question of how deep, how heavy or which is the most wants: a figure
MEASURED = re.compile(
    r"^\W*(?:how (?:deep|long|wide|tall|high|thick|far|heavy|large|fast)|wie (?:tief|lang|breit|hoch|dick|weit|schwer|schnell)"
    r"|which \w+ (?:is|has|had|was) (?:the )?(?:most|least|highest|lowest|biggest|largest|smallest|fewest)"
    r"|welche\w* \w+ (?:ist|hat|war|hatte) (?:am|die|den|das) \w+sten?|quel\w* \w+ (?:est|a|avait) l[ea]s? plus"
    r"|hoe (?:diep|lang|breed|hoog|dik|ver|zwaar|snel)|quanto e (?:profond|lung|larg|alt|pes)\w+|jak (?:gleboki|dlugi|szeroki|wysoki|ciezki)\w*)\b"
)
# "How many legs does the dog have?"
PARTS = re.compile(
    r"\bhow many (\w+) (?:does|do|has|have) (?:the|this|that|your|my|his|her)\b|\bwie viele (\w+) hat d\w+\b"
)
# "Where does it say EXIT?"
SAYS = re.compile(r"\b(?:say|says|said|written|reads?|mentions?|mentioned)\b")
# "Where does the money go?"
GOES = re.compile(r"^\W*where (?:does|do|did)\b|\b(?:goes|geht|gehen|kommt|va|vont|gaat|idzie)\b")
# "Where are they going?"
WHERE_DOES = re.compile(
    r"^\W*(?:where (?:can|could|do|does|did|should|shall|will|are|is|was|were) (?:i|we|you|they|he|she|it) \w+"
    r"|wo (?!habe|finde)\w+e ich\b|ou (?:est-ce que )?je (?!trouve)\w+|donde (?!encuentro|tengo)\w+o (?:el|la|los|las|un|una)\b"
    r"|dove (?!trovo|sono)\w+o (?:il|la|i|le|gli|lo)\b|onde (?!encontro|tenho|estao|sao)\w+o (?:o|a|os|as)\b|waar (?!vind|heb)\w+ ik\b)"
)
# "Where can I take old paint?", in languages that have one word for paint and colour
WHERE_CAN = re.compile(
    r"^\W*(?:wo (?:kann|muss|darf|soll|konnen|mussen)|ou (?:puis|peut|dois|doit|est-ce)|donde (?:puedo|puede|tengo|hay)|dove (?:posso|si|devo)"
    r"|onde (?:posso|tenho|devo|se)|waar (?:kan|moet|mag|kunnen)|gdzie (?:moge|mozna)|where (?:can|could|do|should)) "
)
OPEN = re.compile(
    r"\b(?:open|offen|geoffnet|ouverte?s?|abiert[oa]s?|apert[oaie]|abert[oa]s?|otwart[eay])\b"
)
# Behind it stands what a thing is near
NEAR = re.compile(
    r" (?:in front of|behind|next to|beside|under(?:neath)?|near|vor|hinter|neben|unter|devant|derriere|a cote|sous|delante|detras|al lado|davanti|dietro|accanto|vicino"
    r"|em frente|atras|ao lado|voor|achter|naast|onder|obok|przed|za) "
)
# "What is in front of him?", and not of who asks
BEFORE_OTHERS = re.compile(
    r"^\W*what(?:'s| is) (?:in front of|behind|next to|beside) (?:him|her|them|it)\W*$"
    r"|^\W*what(?:'s| is) in front of (?:the|this|that) (?!camera|lens|phone|screen)\w+\W*$"
    r"|^\W*what(?:'s| is) (?:he|she|it|this|that|the \w+) (?:standing |lying |sitting )?(?:on|under|behind|next to)\W*$"
)
# "What is this letter about?", "What is this poster for?" and "What is in the packet?"
PRINT_ABOUT = re.compile(
    r"^\W*what(?:'s| is) (?:this|that|the) \w+ (?:all )?about\W*$|^\W*wo(?:rum geht|von handelt) (?:es in )?(?:dies\w+|de[rmns]) \w+\W*$"
    r"|^\W*de quoi parle (?:ce|cette|la?e?) \w+\W*$|^\W*de que (?:va|trata) (?:est[ea]|el|la) \w+\W*$|^\W*di cosa parla (?:quest[oa]|il|la) \w+\W*$"
)
PRINT_FOR = re.compile(
    r"^\W*what(?:'s| is| are) (?:this|that|the) (?:poster|leaflet|flyer|ticket|voucher|coupon|card|sign|notice|letter|form|note|banner|advert\w*) for\W*$"
    r"|^\W*what(?:'s| is) (?:(?:this|that|the)(?: a)?|it a) recipe for\W*$"
    r"|^\W*what(?:'s| is| are) (?:in|inside) (?:this|that|the) (?:packs?|packets?|bag|jar|bottle|tin|can|tube|carton|sachet)\W*$"
    r"|^\W*what (?:dish|recipe|meal) is (?:this|that|it)\W*$|^\W*what (?:am i|can (?:i|you|we)) (?:mak|cook|bak)(?:e|ing)?(?: (?:here|(?:with|from) (?:this|it|these)))?\W*$"
    r"|^\W*was ist in (?:dies\w+|d\w+) (?:packung|schachtel|tute|dose|flasche|glas|beutel)\W*$"
    r"|^\W*(?:qu'est-ce qu'il y a|qu'y a-t-il) dans (?:ce|cette|le|la) (?:paquet|boite|sac|sachet|bocal|bouteille)\W*$"
)
# "What is this medicine for?", "How many of these do I take?", "How do I wash this?", "Which bus is this?"
MEDICINE_FOR = re.compile(
    r"^\W*what(?:'s| is| are) (?:this|that|the|these|those) (?:medicine|medication|tablets?|pills?|drug|cream|syrup|spray) for\b"
    r"|^\W*(?:wofur|gegen was) (?:ist|sind|hilft|helfen) (?:dies\w+|das|die) (?:medikament|mittel|tabletten?|salbe)\b"
)
TAKES = re.compile(
    r"^\W*how many (?:of (?:these|them) )?(?:do|should|must|can) (?:i|we|you) (?:have to )?take\b"
)
WASHES = re.compile(r"^\W*how (?:do|should|can|must) (?:i|we|you) wash\b")
WHICH_LINE = re.compile(
    r"^\W*(?:which|what) (?:bus|tram|train|ferry|line|route) is (?:this|that|it)(?: timetable)?(?: for)?\W*$"
    r"|^\W*welche[rs]? (?:bus|linie|tram|zug) ist das\W*$"
)
# "Wann hat der Laden auf?"
HAS_OPEN = re.compile(r"^\W*(?:wann |wie lange )?(?:hat|haben|habt)\b.{1,40}\bauf\W*$")
# "When can I pick it up?"
FETCHES = re.compile(
    r"^\W*(?:from )?when (?:can|could|do|should|may) (?:i|we) (?:collect|fetch|get|pick up) (?:it|them|(?:the|my) (?:parcel|package|item))\b"
    r"|^\W*(?:from )?when (?:can|could|do|should|may) (?:i|we) pick (?:it|them|(?:the|my) (?:parcel|package|item)) up\b"
)
# "Can I park here for three hours?"
FOR_LONG = re.compile(
    r"\bfor (?:an?|\d{1,2}|one|two|three|four|five|six|eight) (?:hours?|minutes?|days?)\b|\ball (?:day|night)\b"
)
# "Until what time do I have to pay?"
AT_WHAT_TIME = re.compile(
    r"\b(?:what time|wie ?viel uhr|quelle heure|que horas?|che ora|hoe laat|ktorej)\b"
)
# "Where did I put it?", and not "Where can I put it?"
WAS_WHERE = re.compile(r"^\W*where (?:did|does|is|are|was|were|will)\b")
# "What is this medicine?"
MEDICINE_IS = re.compile(
    r"^\W*(?:what(?:'s| is)|which) (?:(?:this|that|the) (?:medicine|medication|drug|tablet|pill)|(?:medicine|medication|drug) is (?:this|that|it))\W*$"
)
# "What colour would you call it?"
WOULD = re.compile(r"\bwould you (?:call|say)\b")
# "Can I get my money back?"
REFUNDS = re.compile(r"\b(?:get|have|want) (?:my|our|the) money back\b")
# "What did I buy?"
BOUGHT = re.compile(
    r"^\W*(?:what(?: all)? (?:did (?:i|we|you|they) buy|was bought|have (?:i|we) bought)|was (?:hab(?:e|en)? (?:ich|wir)|wurde)(?: alles)? (?:gekauft|eingekauft)"
    r"|qu'est-ce que (?:j'ai|on a|nous avons) achete|(?:que|qu[ei] es lo que) (?:he|hemos) comprado|que compre|(?:che )?cosa (?:ho|abbiamo) comprato|(?:o )?que (?:e que )?(?:eu )?comprei"
    r"|wat (?:heb ik|hebben we)(?: allemaal)? gekocht|co kupi(?:lem|lam|lismy))\W*$"
)
# "Until when can I bring it back?"
BRINGS_BACK = re.compile(r"\b(?:bring|take|send) (?:\w+ ){1,3}back\b")
BACK = frozenset({"bring", "take", "send", "back", "stuff", "things", "thing", "something"})
# "What's in the parcel?"
INSIDE = re.compile(
    r"^\W*(?:what(?:'s| is) in(?:side)?|was ist in|qu.y a-t-il dans|qu'est-ce qu'il y a dans|que hay (?:en|dentro)|cosa c'e (?:in|nel\w*|dentro)|o que (?:ha|esta) n[oa]|wat zit er in) "
)
# How somebody is reached by telephone
CALLS = re.compile(
    r"\b(?:call|ring|phone(?! n)|dial|anruf\w*|ruf(?:en?|t)?|appel\w*|llam\w*|chiam\w*|lig(?:ar|o|a)|bel|bellen|dzwoni\w*)\b"
)
# "How many books can I borrow?"
MAY = re.compile(
    r"\b(?:can|may|could) (?:i|we)\b|\b(?:kann|darf|durfen|konnen) (?:ich|man|wir)\b|\b(?:puis-je|peut-on|puedo|podemos|posso|possiamo|podemos|mag ik|kan ik|mogen we)\b"
)
# "Who are these people?" asks for no number of them.
WHO_ARE = re.compile(
    r"^\W*(?:who (?:is|are)|who's|wer (?:ist|sind)|qui (?:est|sont)|quien(?:es)? (?:es|son)|chi (?:e|sono)|quem (?:e|sao)|wie (?:is|zijn)) (?:the|this|that|these|those|he|she|they|das|der|die|diese\w*"
    r"|ce\w*|est[aeo]s?|es[ao]s?|quest[aei]|essas?|dit|deze)\b"
)
# "Is the bus full?"
IS = re.compile(
    r"^\W*(?:do (?:they|you)|does (?:it|the)|is|are|ist|sind|est|sont|es|esta|estan|son|e|sono|esta|estao|sao|is|zijn|czy|jest) "
)
# "Is the laptop on?"
IS_ON = re.compile(r"^\W*(?:is|are) .{1,40} (?:on|off)\W*$|^\W*(?:ist|sind) .{1,40} (?:an|aus)\W*$")
DOES = re.compile(r"^\W*(?:can|could|does|do|will|did) (?:it|he|she|they|this|that) \w+\W*$")
# "How did I pay?", and not "How much do I pay?"
HOW = re.compile(
    r"^\W*(?:how|wie|comment|como|come|hoe|jak|как|як|nasil) (?:did|was|do|have|can|will|habe|hat|haben|wurde|kann|zahle|bezahle|ai|a|j|puis"
    r"|he|ha|se|puedo|pague|ho|posso|paguei|heb|is|kan|za|mozna|я|оплат\w*|можно|можна|ode\w*)\b"
)
WHO = re.compile(
    r"^\W*(?:who|whose|para quem|para quien|fur wen|voor wie|pour qui|per chi|wessen|de quien|di chi|de quem|van wie|czyj\w*|kimin|a qui|wer|wen|qui|quien|a quien|chi|quem|wie kan|kto|kim|кто|хто)\b"
)
TOWARDS = re.compile(
    r"\b(?:to|towards|nach|zum|zur|vers|a|au|al|alla|para|hasta|naar|do)\b|到|まで"
)
# "How many women?"
OF_A_KIND = re.compile(
    r"\b(?:women|woman|ladies|girls?|boys|children|kids|babies|adults|frauen|madchen|jungen|kinder|femmes|filles|garcons|enfants|mujeres|chicas"
    r"|ninos|ninas|donne|ragazze|bambini|mulheres|meninas|criancas|vrouwen|meisjes|kinderen|kobiet|dziewczyn|dzieci)\b"
)
# "The Old Net Loft" is no age.
AGE = re.compile(r"^\W*(?:how old|wie alt|hoe oud)\b")
# "Who do I call when it leaks?", and not "What day is it when they come?"
IN_CLAUSE = re.compile(
    r"^\W*(?:who|why|how|wer|wie|wat|qui|quien|chi|quem|cosa|(?:what|which|was|que|che|quoi)(?! (?:time|day|date|month|year|hour|horas?|dia|fecha|ora|giorno|jour)))\b"
    r".+ (?:when|wenn|quand|cuando|quando|wanneer) \w"
)
# What light is only a part of
LIGHT_OF = re.compile(r"\blight (\w+)")
# Days that have a name, as month and day
FEASTS = [
    (day, re.compile(rf"\b(?:{names})\b"))
    for day, names in (
        (
            (12, 24),
            r"christmas eve|heiligabend|nochebuena|kerstavond|wigili\w*|veille de noel|vigilia",
        ),
        (
            (12, 31),
            r"new year'?s eve|silvester|saint-sylvestre|nochevieja|oudejaar\w*|sylwester\w*",
        ),
        ((1, 1), r"new year\S*|neujahr\w*|jour de l.an|ano nuevo|capodanno|ano novo|nieuwjaar\w*"),
        ((12, 25), r"christmas|weihnacht\w*|noel|navidad|natale?|kerst\w*"),
    )
]
