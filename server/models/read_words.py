"""Words that ask for a text to be read on over several pictures, and words that end it. Pure."""

from __future__ import annotations

import re

from server.models.matching import WORD_MARKS, plain, word_pattern

# By language. "Read this" alone asks for the text of one picture; see `routing.DETAIL_WORDS`.
READ_WORDS: dict[str, str] = {
    "en": "read this to me, read that to me, read it to me, read these to me, read them to me, read to me, read me this, "
    "read me that, read me the page, read me the text, read me the label, read me the letter, read me everything, "
    "read the page to me, read the text to me, read the label to me, read the letter to me, read this page to me, "
    "read this text to me, read this label to me, read this letter to me, read all of this to me, read everything to me, "
    "read this aloud, read it aloud, read aloud, read this out loud, read it out loud, read out loud, read on, keep reading, "
    "continue reading, go on reading",
    "de": "lies mir vor, lies mir das vor, lies mir dies vor, lies mir dieses vor, lies mir den text vor, lies mir die seite vor, "
    "lies mir das etikett vor, lies mir den brief vor, lies mir alles vor, lies mir das bitte vor, lies es mir vor, "
    "lies das mir vor, lesen sie mir vor, lesen sie mir das vor, lesen sie es mir vor, mir das vorlesen, es mir vorlesen, mir vorlesen, laut vorlesen, lies laut vor, "
    "lies das laut vor, lies weiter, weiter vorlesen, weiterlesen",
    "fr": "lis-moi ça, lis-moi cela, lis-moi ceci, lis-moi tout, lis-moi le texte, lis-moi ce texte, lis-moi la page, "
    "lis-moi cette page, lis-moi l'étiquette, lis-moi cette étiquette, lis-moi la lettre, lis-moi cette lettre, lisez-moi ça, lisez-moi cela, lisez-moi ceci, lisez-moi tout, lis-le-moi, "
    "lisez-le-moi, me lire ça, me lire cela, me le lire, lis à haute voix, lis à voix haute, lis ça à haute voix, lis ça à voix haute, "
    "continue à lire, continue de lire",
    "es": "léeme esto, léeme eso, léeme todo, léeme el texto, léeme este texto, léeme la página, léeme esta página, "
    "léeme la etiqueta, léeme la carta, léemelo, leerme esto, leerme eso, leérmelo, léame esto, léamelo, lee en voz alta, "
    "lee esto en voz alta, leer en voz alta, sigue leyendo",
    "it": "leggimi questo, leggimi tutto, leggimi il testo, leggimi la pagina, leggimi questa pagina, leggimi l'etichetta, "
    "leggimelo, leggermi questo, leggermelo, leggi ad alta voce, leggilo ad alta voce, continua a leggere",
    "pt": "lê isto para mim, lê isso para mim, lê para mim, lê-me isto, lê-me isso, leia isto para mim, leia isso para mim, "
    "leia para mim, leia-me isto, ler isto para mim, ler isso para mim, lê em voz alta, leia em voz alta, continua a ler, continue lendo",
    "nl": "lees me voor, lees me dit voor, lees me dat voor, lees mij voor, lees mij dit voor, lees dit aan mij voor, "
    "lees het aan mij voor, lees het me voor, me voorlezen, hardop voorlezen, lees hardop, lees verder, verder lezen",
    "pl": "przeczytaj mi to, przeczytaj mi, czytaj mi, przeczytaj na głos, przeczytaj to na głos, czytaj na głos, czytaj dalej",
    "ru": "прочитай мне, прочитай мне это, прочитай это мне, прочти мне, прочти мне это, прочитайте мне, почитай мне, "
    "читай мне, прочитай вслух, прочитай это вслух, прочти вслух, читай вслух, читай дальше",
    "tr": "bana oku, bunu bana oku, bana bunu oku, şunu bana oku, hepsini bana oku, metni bana oku, sayfayı bana oku, "
    "etiketi bana oku, sesli oku, bunu sesli oku, yüksek sesle oku, okumaya devam et, devamını oku",
    "uk": "прочитай мені, прочитай мені це, прочитай це мені, прочитайте мені, читай мені, почитай мені, "
    "прочитай уголос, прочитай вголос, прочитай це вголос, читай уголос, читай вголос, читай далі",
    "ar": "اقرأ لي, اقرأ لي هذا, اقرأ هذا لي, اقرأه لي, اقرأها لي, اقرأ لي النص, اقرأ لي الصفحة, اقرأ بصوت عال, "
    "اقرأ هذا بصوت عال, تابع القراءة, واصل القراءة",
    "hi": "मुझे पढ़कर सुनाओ, यह मुझे पढ़कर सुनाओ, पढ़कर सुनाओ, पढ़कर सुनाइए, पढ़ कर सुनाओ, पढ़ कर सुनाइए, "
    "मुझे पढ़ के सुनाओ, ज़ोर से पढ़ो, जोर से पढ़ो, पढ़ते रहो, आगे पढ़ो",
}
READ_PARTS: dict[str, str] = {
    "zh": "读给我听, 讀給我聽, 念给我听, 念給我聽, 读给我, 念给我, 讀給我, 念給我, 读出来, 讀出來, 念出来, 念出來, 大声读, 大聲讀, 朗读, 朗讀, 继续读, 繼續讀, 接着读, 接著讀",
    "ja": "読み上げ, 読んで聞かせ, 声に出して読, 音読, 続きを読",
    "ko": "소리 내어 읽, 소리내어 읽, 소리 내서 읽, 소리내서 읽, 나에게 읽어, 나한테 읽어, 저에게 읽어, 낭독, 계속 읽",
}
# A whole question of these words, with courtesies, ends it.
STOP_WORDS: dict[str, str] = {
    "en": "stop, stop it, stop reading, stop now, enough, that's enough, quiet, be quiet, cancel",
    "de": "stopp, stop, halt, hör auf, aufhören, genug, das reicht, reicht, ruhe, abbrechen, schluss",
    "fr": "arrête, arrêtez, arrête-toi, arrête de lire, stop, assez, ça suffit, silence",
    "es": "para, pare, parar, detente, basta, alto, silencio, ya basta, deja de leer",
    "it": "ferma, fermati, basta, stop, smetti, smettila, silenzio",
    "pt": "para, pare, parar, chega, basta, silêncio",
    "nl": "stop, stoppen, genoeg, hou op, houd op, ophouden, stil",
    "pl": "stop, dość, wystarczy, przestań, cisza, koniec",
    "ru": "стоп, хватит, достаточно, остановись, остановитесь, перестань, тихо, замолчи",
    "zh": "停, 停下, 停止, 停下来, 停下來, 别读了, 別讀了, 不要读了, 够了, 夠了, 好了",
    "ja": "止めて, やめて, ストップ, 止まれ, もういい",
    "ko": "그만, 멈춰, 스톱, 정지, 됐어, 그만해",
    "tr": "dur, durdur, yeter, tamam yeter, sus, kes, bitir, okumayı bırak",
    "uk": "стоп, досить, годі, зупинись, зупиніться, припини, тихо, замовкни",
    "ar": "توقف, قف, كفى, يكفي, اسكت, صمت, أوقف القراءة",
    "hi": "रुको, रुकिए, रुक जाओ, बस, बस करो, बंद करो, चुप, काफ़ी है",
}
_COURTESIES = "please, now, okay, ok, thanks, thank you, bitte, danke, jetzt, s'il te plaît, s'il vous plaît, merci, por favor, "
_COURTESIES += "gracias, ahora, per favore, grazie, obrigado, obrigada, alsjeblieft, alstublieft, dank je, proszę, dziękuję, пожалуйста, спасибо, "
_COURTESIES += "lütfen, teşekkürler, şimdi, будь ласка, дякую, من فضلك, شكرا, कृपया, धन्यवाद"
# Of languages that write them without a space
_COURTESY_PARTS = "请, 請, ください, 下さい, 주세요, 줘"

_READ = word_pattern(",".join(READ_WORDS.values()), ",".join(READ_PARTS.values()))
_STOP = {plain(word.strip()) for words in STOP_WORDS.values() for word in words.split(",") if word}
_COURTESY = word_pattern(_COURTESIES, _COURTESY_PARTS)
# No command is longer.
_MOST_STOP = 60


def wants_reading(text: str) -> bool:
    """Find whether a question, as `plain` text, asks for a text to be read on."""
    return _READ.search(text) is not None


def bare(said: str) -> str:
    """Return what somebody says as `plain` words, without courtesies and punctuation."""
    words = re.sub(rf"[^\w{WORD_MARKS}'\- ]+", " ", _COURTESY.sub(" ", plain(said)))
    return " ".join(words.split())


def is_stop(question: str) -> bool:
    """Find whether somebody says nothing but that it is enough."""
    if len(question) > _MOST_STOP:
        return False
    return bare(question) in _STOP
