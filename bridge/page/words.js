// Which words of a passage match: those of the sentence that cites it, and those of the question.

const COMMON = new Set(
  (
    "a about all also an and any are as at be been but by can could did do does for from had has have how i if in into is it its may me more most my no not of on " +
    "one only or other our she so some such than that the their them then there these they this those to use used using very was we were what when where which " +
    "while who why will with would you your"
  ).split(" "),
);
const ENDINGS = ["ations", "ation", "ings", "ing", "ers", "ies", "ed", "er", "es", "ly", "s", "e"];
const SHORTEST = 3;

const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });

// Words of one family have one stem, most of the time: handles, handled and handling.
export function stem(word) {
  const lower = word.toLowerCase();
  const ending = ENDINGS.find((end) => lower.endsWith(end) && lower.length - end.length >= SHORTEST);
  return ending ? lower.slice(0, -ending.length) : lower;
}

function* words(text) {
  for (const { segment, index, isWordLike } of segmenter.segment(text)) if (isWordLike) yield { segment, index };
}

// The stems of the words that say something.
export function stems(...texts) {
  const found = new Set();
  for (const text of texts) {
    for (const { segment } of words(text)) {
      const lower = segment.toLowerCase();
      if (!COMMON.has(lower) && (lower.length >= SHORTEST || lower.charCodeAt(0) > 0x7f)) found.add(stem(lower));
    }
  }
  return found;
}

// The text in pieces, {text, hit}, in order.
export function matches(text, wanted) {
  const pieces = [];
  let at = 0;
  for (const { segment, index } of words(text)) {
    if (!wanted.has(stem(segment)) || COMMON.has(segment.toLowerCase())) continue;
    if (index > at) pieces.push({ text: text.slice(at, index), hit: false });
    pieces.push({ text: segment, hit: true });
    at = index + segment.length;
  }
  if (at < text.length) pieces.push({ text: text.slice(at), hit: false });
  return pieces;
}

// The sentence that a citation ends, of the text before it.
export function claimBefore(text) {
  const trimmed = text.replace(/[\s\d.,;:!?()[\]]{0,40}$/u, "");
  const begin = Math.max(...[". ", "? ", "! ", "\n", "。"].map((end) => trimmed.lastIndexOf(end)));
  return trimmed.slice(begin + 1);
}
