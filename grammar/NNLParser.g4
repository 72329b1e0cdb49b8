// The syntax of NNL over the tokens that compiler/syntax/token_filter.cpp lets through (see NNLLexer.g4). Every statement
// ends in an NL. Rules are kept to two tokens of lookahead, so that an error is found where it is and not at the start of
// the statement. Checked when the tree becomes an AST, because they are about meaning more than form: comparisons and
// ranges don't chain, what may stand right of `|>` and left of `=`, where `_` and `for` may be arguments.
parser grammar NNLParser;

options {
  tokenVocab = NNLLexer;
  superClass = DepthLimitedParser;
}

@parser::preinclude {
#include "compiler/syntax/depth_limited_parser.h"
}

program: line* EOF;
interpolation: expr NL EOF;

line: stmt NL;

stmt
  : CONFIG name COLON type ASSIGN expr # configStmt
  | LET patterns (COLON type)? ASSIGN expr # letStmt
  | VAR name (COLON type)? ASSIGN expr # varStmt
  | FN name params (ARROW type)? block # fnStmt
  | LAYER name (params layerBody | ASSIGN expr) # layerStmt
  | OPTIMIZER name params optimizerBody # optimizerStmt
  | TEST STRING block # testStmt
  | IMPORT STRING (AS name)? # importStmt
  | SEED expr # seedStmt
  | PRECISION name # precisionStmt
  | FOR patterns IN expr block # forStmt
  | WHILE expr block # whileStmt
  | RETURN expr? # returnStmt
  | BREAK # breakStmt
  | CONTINUE # continueStmt
  | expr (ASSIGN expr)? # exprStmt
  ;

layerBody: LBRACE itemLine* RBRACE;
itemLine: item NL;
item
  : (PARAM | STATE) name COLON type ASSIGN expr # paramItem
  | LET patterns (COLON type)? ASSIGN expr # letItem
  | TIE args # tieItem
  | REQUIRE expr (COMMA STRING)? # requireItem
  | layerIf # ifItem
  | FORWARD params (ARROW type)? block # forwardItem
  | FN name params (ARROW type)? block # fnItem
  | name ASSIGN expr # memberItem
  ;
layerIf: IF expr layerBody (ELSE IF expr layerBody)* (ELSE layerBody)?;

optimizerBody: LBRACE ruleLine* RBRACE;
ruleLine: rule_ NL;
rule_
  : STATE name ASSIGN expr # stateRule
  | REQUIRE expr (COMMA STRING)? # requireRule
  | UPDATE params block # updateRule
  ;

params: LPAREN (param (COMMA param)* COMMA?)? RPAREN;
param: name (COLON type)? (ASSIGN expr)?;

type
  : CLASS LPAREN expr RPAREN dims? # classType
  | name dims? # namedType
  | dims # tensorType
  | LRECORD (fieldType (COMMA fieldType)* COMMA?)? RBRACE # recordType
  | LPAREN type (COMMA type)* COMMA? RPAREN # tupleType
  ;
fieldType: name COLON type;
dims: LBRACKET (dim (COMMA dim)* COMMA?)? RBRACKET;
dim: DOTDOT | expr;

block: LBRACE line* RBRACE;
lambda: LAMBDA patterns ARROW line* RBRACE;
patterns: pattern (COMMA pattern)* COMMA?;
pattern: name | UNDERSCORE | LPAREN pattern (COMMA pattern)* COMMA? RPAREN;

expr
  : primary # primaryExpr
  | expr DOT name lambda? # memberExpr
  | expr args lambda? # callExpr
  | expr LBRACKET subscript (COMMA subscript)* COMMA? RBRACKET # indexExpr
  | <assoc = right> expr POW expr # binaryExpr
  | MINUS expr # unaryExpr
  | expr (STAR | SLASH | FLOORDIV | PERCENT | AT) expr # binaryExpr
  | expr (PLUS | MINUS) expr # binaryExpr
  | expr (EQ | NE | LT | LE | GT | GE) expr # binaryExpr
  | NOT expr # unaryExpr
  | expr AND expr # binaryExpr
  | expr OR expr # binaryExpr
  | expr (DOTDOT | DOTDOTEQ) expr # rangeExpr
  | expr PIPE expr # pipeExpr
  ;

primary
  : (MINIMIZE | GRAD) args block # blockCall
  | ifExpr # ifPrimary
  | name # nameExpr
  | INT # intExpr
  | FLOAT # floatExpr
  | STRING # stringExpr
  | TRUE # boolExpr
  | FALSE # boolExpr
  | NONE # noneExpr
  | UNDERSCORE # wildcardExpr
  | LPAREN (expr (COMMA expr)* COMMA?)? RPAREN # parenExpr
  | LBRACKET (expr (FOR patterns IN expr | (COMMA expr)* COMMA?))? RBRACKET # listExpr
  | LRECORD (entry (COMMA entry)* COMMA?)? RBRACE # recordExpr
  ;
ifExpr: IF expr block (ELSE IF expr block)* (ELSE block)?;
entry: (name | STRING) COLON expr;
args: LPAREN (arg (COMMA arg)* COMMA?)? RPAREN;
arg: name ASSIGN expr | FOR patterns IN expr block | expr;
subscript: ELLIPSIS | expr (COLON expr? (COLON expr?)?)? | COLON expr? (COLON expr?)?;

// Words that are names wherever the grammar doesn't ask for them.
name
  : ID | IN | AS | CONFIG | LAYER | PARAM | STATE | OPTIMIZER | TEST | PRECISION | REQUIRE | FORWARD | UPDATE | CLASS | TIE
  ;
