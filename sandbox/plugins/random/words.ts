// Short words of common use; a pet name only has to be told apart by a person.
export const adverbs = (
  "boldly brightly calmly clearly closely deeply duly early easily evenly fairly finely firmly fondly freely gently gladly " +
  "greatly happily highly kindly largely lightly mainly mostly nearly neatly openly partly plainly poorly purely quickly " +
  "quietly rarely readily really rightly safely sharply simply slowly smoothly softly solely sorely steadily strongly " +
  "surely sweetly swiftly tightly truly usually vastly warmly wholly widely wildly wisely"
).split(" ");

export const adjectives = (
  "able active alert ample apt awake aware brave bright brief calm careful casual civil clean clear clever close comic cool " +
  "cosmic crisp curious dear deep direct eager early easy equal even exact fair famous fast fine firm fit fleet fluent fond " +
  "free fresh full funny gentle giving glad good grand great handy happy hardy honest humble ideal joint keen kind large " +
  "lasting light live logical loved loyal lucky major merry mighty model modest moved mutual native neat nice noble novel " +
  "open patient perfect pleasant polite precise prime proud pure quick quiet ready relaxed rich robust sacred safe sharp " +
  "simple smart smooth social solid sound stable steady still strong sunny super sure sweet swift tender tidy tough true " +
  "upright useful valid vast vital vocal warm wealthy welcome whole wise witty worthy"
).split(" ");

export const animals = (
  "adder akita ant ape badger barnacle bass bat bear beetle bird bison boar bobcat buck bug bull bunny calf camel cardinal " +
  "cat chamois cheetah cicada clam cobra cod collie colt condor coral cougar cow coyote crab crane cricket crow deer dingo " +
  "doe dog dolphin donkey dove dragon drake duck eagle eel egret elk emu ewe falcon fawn ferret finch fish fly foal fowl " +
  "fox frog gannet gator gecko gibbon gnat gnu goat goose grouse grub gull guppy hare hawk hen heron herring hippo honeybee " +
  "hornet horse hound husky ibex iguana imp insect jackal jay jaguar kid kit kite kiwi koala lacewing lamb lark lemur " +
  "leopard lion lizard llama lobster lynx macaw magpie mako mallard mammoth marlin marmot marten martin mink minnow mole " +
  "monkey moose moth mouse mule mullet muskrat newt ocelot octopus orca oriole osprey owl ox oyster panda panther parrot " +
  "penguin pheasant pig pigeon pika pony possum puma puppy python quail rabbit racer ram raven ray redbird robin rodent " +
  "rooster salmon sawfish seal serval shad shark sheep shrew shrimp skink skunk sloth slug snail snake snipe spider sponge " +
  "squid stag starfish stinkbug stork stud sunbird swan swift tapir tarpon teal tiger toad tortoise trout turkey turtle " +
  "unicorn urchin viper vulture walrus warthog wasp weasel werewolf whale wildcat wolf wombat worm wren yak zebra"
).split(" ");
