// What the playground uses of CodeMirror, as one global. `make codemirror` bundles it into fractal_dsl/play/page/.
export {EditorState, Compartment, StateEffect, StateField, Transaction} from "@codemirror/state";
export {EditorView, Decoration, keymap, lineNumbers, highlightActiveLine, highlightActiveLineGutter, drawSelection,
        highlightSpecialChars, dropCursor, hoverTooltip, closeHoverTooltips} from "@codemirror/view";
export {HighlightStyle, StreamLanguage, syntaxHighlighting, bracketMatching, indentUnit} from "@codemirror/language";
export {defaultKeymap, history, historyKeymap, indentWithTab, isolateHistory} from "@codemirror/commands";
export {autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, startCompletion} from "@codemirror/autocomplete";
export {setDiagnostics, forEachDiagnostic, lintGutter} from "@codemirror/lint";
export {searchKeymap, highlightSelectionMatches} from "@codemirror/search";
export {tags} from "@lezer/highlight";
