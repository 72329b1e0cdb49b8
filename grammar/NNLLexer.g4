// The tokens of NNL. What a lexer can't decide alone is decided by compiler/syntax/token_filter.cpp, which stands between
// lexer and parser: it drops newlines that don't end a statement and adds one before each `}` or end of file that does,
// tells the three uses of `{` apart (LBRACE a block, LAMBDA a head with `->`, LRECORD a record), makes `minimize`, `grad`
// and `seed` keywords where they act as such, and turns every word after a dot into an ID. It also reports, in words of
// its own, each token of the last section (what users of other languages write).
lexer grammar NNLLexer;

tokens { LAMBDA, LRECORD, MINIMIZE, GRAD, SEED }

// Reserved words.
LET: 'let';
VAR: 'var';
FN: 'fn';
IF: 'if';
ELSE: 'else';
FOR: 'for';
WHILE: 'while';
BREAK: 'break';
CONTINUE: 'continue';
RETURN: 'return';
AND: 'and';
OR: 'or';
NOT: 'not';
TRUE: 'true';
FALSE: 'false';
NONE: 'None';
IMPORT: 'import';

// Words that are names wherever the grammar doesn't ask for them.
IN: 'in';
AS: 'as';
CONFIG: 'config';
LAYER: 'layer';
PARAM: 'param';
STATE: 'state';
OPTIMIZER: 'optimizer';
TEST: 'test';
PRECISION: 'precision';
REQUIRE: 'require';
FORWARD: 'forward';
UPDATE: 'update';
CLASS: 'class';
TIE: 'tie';

UNDERSCORE: '_';
ID: [\p{L}_] [\p{L}\p{M}\p{Nd}_]*;

FLOAT: Whole '.' Digits Exponent? | Whole Exponent;
INT: Whole | '0' [xX] [0-9a-fA-F] ('_'? [0-9a-fA-F])*;
fragment Whole: '0' | [1-9] ('_'? [0-9])*;
fragment Digits: [0-9] ('_'? [0-9])*;
fragment Exponent: [eE] [+-]? [0-9]+;

STRING: '"' ('\\' ~[\n] | ~["\\\n])* '"';

LPAREN: '(';
RPAREN: ')';
LBRACKET: '[';
RBRACKET: ']';
LBRACE: '{';
RBRACE: '}';

COMMA: ',';
COLON: ':';
DOT: '.';
DOTDOT: '..';
DOTDOTEQ: '..=';
ELLIPSIS: '...';
ARROW: '->';
PIPE: '|>';
ASSIGN: '=';
EQ: '==';
NE: '!=';
LE: '<=';
GE: '>=';
LT: '<';
GT: '>';
POW: '**';
FLOORDIV: '//';
STAR: '*';
SLASH: '/';
PERCENT: '%';
AT: '@';
PLUS: '+';
MINUS: '-';

DOC: '##' ~[\n]*;
COMMENT: '#' ~[\n]*;
WS: [ \t\r]+ -> skip;
NL: '\n';

// Not NNL, but recognised so that the message can say what is.
BAD_NUMBER
  : [0-9] WordPart* ('.' [0-9] WordPart*)?
  | [0-9] [0-9_]* ('.' [0-9] [0-9_]*)? [eE] [+-] WordPart*
  | '.' [0-9] WordPart*
  ;
fragment WordPart: [\p{L}\p{Nd}_];
BAD_STRING: '"' ('\\' ~[\n] | ~["\\\n])* '\\'?;
SINGLE_QUOTED: '\'' ~['\n]* '\'';
SEMICOLON: ';';
AMPAMP: '&&';
BARBAR: '||';
BANG: '!';
PLUSPLUS: '++';
COMPOUND: ('+' | '-' | '*' | '/' | '//' | '%' | '@' | '**') '=';
FAT_ARROW: '=>';
COLON_EQ: ':=';
OTHER: .;
