"""The words of the bundled model: plain everyday English, grouped by the part they play in a sentence."""

__all__ = ["IRREGULAR_PLURALS", "IRREGULAR_VERBS", "WORDS"]

# category -> words, separated by blanks
_TEXT = {
    "person": """man woman boy girl child baby friend neighbor teacher student doctor nurse farmer driver
        worker soldier captain king queen prince artist writer singer dancer actor cook baker waiter lawyer
        judge officer guard pilot sailor hunter guest leader stranger visitor player runner painter manager
        engineer scientist president secretary customer cousin uncle aunt""",
    "relative": """mother father brother sister son daughter grandmother grandfather wife husband uncle aunt
        family boss partner dog cat""",
    "animal": """dog cat horse cow sheep pig goat chicken duck bird fish mouse rabbit lion tiger bear wolf fox
        monkey elephant snake frog turtle spider bee butterfly eagle owl whale deer camel""",
    "thing": """book letter paper pencil pen table chair desk lamp door window wall floor roof key lock box
        bag basket bottle cup glass plate bowl knife fork spoon phone computer radio camera clock watch
        picture map ticket newspaper magazine card stamp coat hat shirt dress shoe sock glove ring blanket
        pillow bed mirror candle hammer nail rope ladder wheel car truck bus train boat ship plane bicycle
        engine machine ball toy doll drum guitar piano violin flag gift coin wallet umbrella tent stone rock
        leaf flower tree branch feather shell brush button needle string wire pipe pot pan oven fridge sofa
        carpet curtain shelf drawer cupboard stair bucket broom soap towel report message package story song
        poem movie""",
    "food": """bread butter cheese milk water juice coffee tea soup salad rice meat fish chicken egg cake pie
        cookie chocolate sugar salt pepper honey apple orange banana lemon grape cherry peach pear tomato
        potato onion carrot bean corn mushroom sandwich pizza breakfast lunch dinner fruit vegetable""",
    "place": """house home school church hospital library museum theater station airport hotel restaurant
        kitchen bedroom bathroom garden farm field forest mountain hill valley river lake ocean beach island
        desert village town city street road bridge park market shop store office factory bank castle tower
        harbor garage basement attic yard corner room hall sea top middle bottom stadium university college
        cabin cave camp""",
    "nature": """sun moon star sky cloud rain snow wind storm thunder fire smoke ice air earth light shadow
        summer winter spring autumn morning afternoon evening night weather gold fog temperature""",
    "idea": """idea plan question answer problem reason secret dream hope fear love life death truth lie peace
        war law right power music art history science language word name number price money time day week
        month year hour minute moment chance choice change difference example experience fact game group
        health help information job lesson list mistake news order part past future pleasure point promise
        purpose result rule sense service side sign size sound speed step success surprise system test thought
        trouble truth value view voice way work world center color shape space surface distance machine model
        sentence noise signal speech page half worth""",
    "adjective": """big small large little long short tall high low wide narrow thick thin heavy light fast
        slow quick new old young fresh modern ancient clean dirty dry wet hot cold warm cool hard soft smooth
        rough sharp flat round square straight empty full open closed dark bright loud quiet silent sweet
        bitter sour good bad better worse best worst great fine nice pretty beautiful ugly strange strong weak
        brave kind gentle cruel honest clever smart wise foolish funny serious happy sad angry afraid tired
        hungry thirsty sick healthy rich poor cheap expensive easy difficult simple important famous popular
        common rare special different similar same possible impossible ready busy free safe dangerous careful
        lazy lucky lonely proud polite rude shy calm nervous curious surprised excited wrong true false real
        clear gone older younger bigger smaller cheaper early late broken lost golden silver wooden plastic
        tiny huge deep shallow main public private perfect terrible wonderful natural whole single double
        local final""",
    "color": "red blue green yellow orange purple pink brown black white gray",
    "number": """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
        sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety""",
    "digit": "zero one two three four five six seven eight nine",
    "ordinal": "first second third fourth fifth sixth seventh eighth ninth tenth last next",
    "name": """john mary peter anna paul susan david linda robert helen george alice henry emma jack lucy tom
        jane mark sarah james laura william kate daniel julia""",
    "country": "america england france germany spain italy china japan india canada mexico africa europe",
    "day": "monday tuesday wednesday thursday friday saturday sunday",
    "month": "january february march april may june july august september october november december",
    # transitive verbs, base form
    "verb": """see find take bring carry hold keep leave lose buy sell make build break fix open close clean
        wash paint draw write read send receive give show hide catch throw drop push pull lift move turn cut
        burn cook eat drink taste smell touch hear watch like love hate want need use try help teach learn
        study know remember forget understand believe choose change check count measure cover fill empty
        follow lead meet visit call answer ask tell thank invite join finish start stop share save spend steal
        borrow lend pay win collect plant pick plan prepare describe explain discover enjoy examine expect
        grow improve notice order own pass print produce protect prove raise reach record refuse remove repair
        repeat replace report search serve shake shoot sign sort spell store supply support trust wear wrap
        put feed say promise drive""",
    # intransitive verbs, base form
    "action": """go come walk run jump swim fly climb fall stand sit sleep wake rest wait stay work play sing
        dance laugh smile cry shout whisper talk speak listen look think dream travel arrive return leave move
        stop begin end rise shine grow live die fight win hurry escape appear disappear breathe agree ring
        rain""",
    "adverb": """quickly slowly quietly loudly softly carefully easily happily sadly well badly together alone
        again often never always sometimes usually really almost already still soon suddenly finally
        slightly completely probably certainly perhaps maybe clearly exactly nearly recently simply""",
    "time": """today tomorrow yesterday tonight now later soon early late""",
    "preposition": """in on under over behind beside near across around through into toward from above below
        between along inside outside without against after before during until""",
    "function": """the a an this that these those my your his her its our their some any no every each both
        all many much more most few less other another such i you he she it we they me him us them who what
        which whose when where why how is are was were be been am has have had do does did will would can
        could may might must shall should and or but if because so than then while though as of to for with by
        at about not only just very too also even up down out off away back here there yes please thank hello
        goodbye sorry welcome okay enough quite rather once twice half least everyone someone anyone nobody
        everything something anything nothing everywhere somewhere myself yourself himself herself people
        don't i'm it's can't cannot didn't isn't let's we'll that's doesn't won't you're they're i'll hundred
        thousand million""",
    "body": """head face eye ear nose mouth tooth hair neck shoulder arm hand finger leg foot knee heart back
        skin""",
}

WORDS: dict[str, tuple[str, ...]] = {
    category: tuple(dict.fromkeys(text.split())) for category, text in _TEXT.items()
}

# base -> (past, -ing); every other verb is inflected by rule
IRREGULAR_VERBS: dict[str, tuple[str, str]] = {
    base: (past, ing)
    for base, past, ing in (
        line.split()
        for line in """see saw seeing|find found finding|take took taking|bring brought bringing
        hold held holding|keep kept keeping|leave left leaving|lose lost losing|buy bought buying
        sell sold selling|make made making|build built building|break broke breaking|draw drew drawing
        write wrote writing|read read reading|send sent sending|give gave giving|show showed showing
        hide hid hiding|catch caught catching|throw threw throwing|cut cut cutting|eat ate eating
        drink drank drinking|hear heard hearing|teach taught teaching|know knew knowing
        forget forgot forgetting|understand understood understanding|choose chose choosing
        lead led leading|meet met meeting|tell told telling|spend spent spending|steal stole stealing
        lend lent lending|pay paid paying|win won winning|grow grew growing|shake shook shaking
        shoot shot shooting|wear wore wearing|go went going|come came coming|run ran running
        swim swam swimming|fly flew flying|fall fell falling|stand stood standing|sit sat sitting
        sleep slept sleeping|wake woke waking|sing sang singing|speak spoke speaking
        think thought thinking|begin began beginning|rise rose rising|shine shone shining
        fight fought fighting|drop dropped dropping|stop stopped stopping|plan planned planning
        wrap wrapped wrapping|die died dying|travel traveled traveling|put put putting|feed fed feeding
        say said saying|drive drove driving|ring rang ringing
        prove proved proving""".replace("|", "\n").splitlines()
    )
}

IRREGULAR_PLURALS: dict[str, str] = {
    "man": "men", "woman": "women", "child": "children", "sheep": "sheep", "fish": "fish", "mouse": "mice",
    "wolf": "wolves", "knife": "knives", "leaf": "leaves", "shelf": "shelves", "foot": "feet",
    "tooth": "teeth", "deer": "deer", "wife": "wives", "life": "lives",
}  # fmt: skip
