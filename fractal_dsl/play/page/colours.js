// The colours of the text, from the language's own words.
const kinds = new Map();
for (const [kind, list] of [["layer", config.words.layers], ["type", config.words.types],
                            ["keyword", config.words.keywords], ["declaration", config.words.declarations]])
  for (const word of list) kinds.set(word, kind);
const token = new RegExp(
  [...Object.entries(config.words.patterns), ["NAME", "[\\p{L}_][\\p{L}\\p{M}\\p{N}_]*"]]
    .map(([kind, pattern]) => `(?<${kind}>${pattern})`).join("|"), "uy");

const {tags} = CM;
const styles = {
  declaration: tags.definitionKeyword, keyword: tags.keyword, type: tags.typeName, layer: tags.standard(tags.name),
  defined: tags.definition(tags.name), number: tags.number, string: tags.string, comment: tags.comment,
};
const literals = {COMMENT: "comment", STRING: "string", PROB: "number", FLOAT: "number", INT: "number"};

const language = CM.StreamLanguage.define({
  name: "frac",
  startState: () => ({before: ""}),
  token(stream, state) {
    if (stream.eatSpace()) return null;
    token.lastIndex = stream.pos;
    const match = token.exec(stream.string);
    if (!match) {
      state.before = stream.next();
      return null;
    }
    const [word] = match, kind = Object.keys(match.groups).find(name => match.groups[name] !== undefined);
    stream.pos += word.length;
    const defines = kinds.get(state.before) === "declaration";
    state.before = kind === "COMMENT" ? "" : word;
    return literals[kind] ?? kinds.get(word) ?? (defines ? "defined" : null);
  },
  tokenTable: styles,
  languageData: {commentTokens: {line: "#"}, closeBrackets: {brackets: ["(", "[", "{", '"']}},
});
const colours = CM.HighlightStyle.define(Object.entries(styles).map(([name, tag]) => ({tag, class: name})));
