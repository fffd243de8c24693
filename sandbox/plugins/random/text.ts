import { below, type Source, shuffle, systemSource } from "./number";

const lowercase = "abcdefghijklmnopqrstuvwxyz";
const uppercase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const digits = "0123456789";
const specials = "!@#$%&*()-_=+[]{}<>:?";

export interface TextRules {
  length: number;
  lower: boolean;
  upper: boolean;
  numeric: boolean;
  special: boolean;
  minLower: number;
  minUpper: number;
  minNumeric: number;
  minSpecial: number;
  overrideSpecial: string | undefined;
}

/** Why no text can follow the rules; undefined when one can. */
export function impossible(rules: TextRules): string | undefined {
  const { length, lower, upper, numeric, special } = rules;
  if (!Number.isInteger(length) || length < 1) return `length must be a positive whole number, got ${length}`;
  const minimum = rules.minLower + rules.minUpper + rules.minNumeric + rules.minSpecial;
  if (minimum > length) return `length must be at least the sum of the minima, ${minimum}, got ${length}`;
  if (!lower && !upper && !numeric && !special) return "at least one of lower, upper, numeric, special must be true";
  return undefined;
}

/** Minima first, the rest from all allowed characters, then shuffled, so that no place tells the class of its character. */
export function randomText(rules: TextRules, source: Source = systemSource): string {
  const special = rules.overrideSpecial ?? specials;
  const all = [
    rules.lower ? lowercase : "",
    rules.upper ? uppercase : "",
    rules.numeric ? digits : "",
    rules.special ? special : "",
  ].join("");
  const picks = [
    ...pick(lowercase, rules.minLower, source),
    ...pick(uppercase, rules.minUpper, source),
    ...pick(digits, rules.minNumeric, source),
    ...pick(special, rules.minSpecial, source),
  ];
  return shuffle([...picks, ...pick(all, rules.length - picks.length, source)], source).join("");
}

function pick(characters: string, count: number, source: Source): string[] {
  const choices = [...characters];
  return Array.from({ length: count }, () => choices[below(choices.length, source)] ?? "");
}
