"""Sentences in common languages as people type them: test texts, and a measure of which characters are frequent."""

ENGLISH = "The ship left the harbour at dawn; by 9:30 the sea was calm, and we didn't see land until 1 May (1998)."
SENTENCES = [
    ENGLISH,
    "Le navire a quitté le port à l’aube : « la mer était calme », dit-elle, où qu’elle fût.",
    "El barco salió del puerto al amanecer. ¿Quién lo vio? ¡Nadie! Año tras año, así.",
    "Das Schiff verließ früh den Hafen, und die See war – wie üblich – „ruhig“.",
    "Statek wypłynął z portu o świcie; żółta łódź została. Gemi şafakta limandan ayrıldı, İzmir’e gidiyor.",
    "Con tàu rời cảng lúc bình minh, và biển lặng. Tiếng Việt là ngôn ngữ của người Việt.",
    "Корабль вышел из порта на рассвете, и море было спокойно. Ещё один день.",
    "Το πλοίο έφυγε από το λιμάνι την αυγή και η θάλασσα ήταν ήρεμη.",
    "הספינה עזבה את הנמל עם שחר, והים היה שקט. שָׁלוֹם",
    "غادرت السفينة الميناء عند الفجر، وكان البحر هادئًا؛ أين هي الآن؟ إلى آخره ٣٤٪",
    "الْحَمْدُ لِلَّهِ رَبِّ الْعَالَمِينَ، وَالصَّلَاةُ وَالسَّلَامُ عَلَيْكُمْ",
    "کشتی سپیده‌دم بندر را ترک کرد و دریا آرام بود. جہاز صبح سویرے بندرگاہ سے نکلا۔",
    "जहाज़ भोर में बंदरगाह से निकला, और समुद्र शांत था। বাংলা ভাষা খুব সুন্দর, এটি আমাদের।",
    "கப்பல் விடியற்காலையில் துறைமுகத்தை விட்டுச் சென்றது. ഓടം തീരം വിട്ടു.",
    "เรือออกจากท่าตอนรุ่งสาง และทะเลก็สงบ น้ำใส",
    "船在黎明时离开了港口，海面很平静。“你好！”她说……（真的？）",
    "船は夜明けに港を出ました。海は静かでした。「こんにちは」とカタカナ、です！",
    "배는 새벽에 항구를 떠났고, 바다는 잔잔했다. 안녕하세요 ㅋㅋㅋ",
    "def f(x):\n    return {'a': [1, 2], \"b\": x**2}  # <b>it's</b> 100 %\n\n\treturn None\n",
    "emoji 🦙, 👍🏽 and ❤️ © 2024 Ünïcode™ · “quoted” … 5 m² at 20 °C",
]
