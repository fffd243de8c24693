/** The Distinguished Encoding Rules of ASN.1 (X.690), as far as an X.509 certificate needs them: tag, length, content. */

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** A tag of its own meaning in the structure around it: `[number]`. */
export const contextTag = (number: number, form: "primitive" | "constructed"): number =>
  (form === "constructed" ? 0xa0 : 0x80) | number;

export function encode(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag]), encodeLength(body.length), body]);
}

/** Lengths from 128 follow the number of bytes that they take. */
function encodeLength(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const bytes = base256(length);
  return Buffer.from([0x80 | bytes.length, ...bytes]);
}

function base256(value: number): number[] {
  return value < 256 ? [value] : [...base256(Math.floor(value / 256)), value % 256];
}

export const sequence = (...content: Buffer[]): Buffer => encode(tags.sequence, ...content);

/** A whole number of bytes; `unused` of the last bits do not count. */
export const bitString = (bits: Buffer, unused = 0): Buffer => encode(tags.bitString, Buffer.from([unused]), bits);

/** Such as "2.5.29.14". */
export function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...others] = dotted.split(".").map(Number);
  return encode(tags.objectIdentifier, Buffer.from([first * 40 + second, ...others.flatMap(base128)]));
}

/** Seven bits a byte; all bytes but the last have the highest bit. */
function base128(value: number): number[] {
  const high: number[] = [];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) high.unshift(0x80 | (rest % 128));
  return [...high, value % 128];
}

/** RFC 5280: two digits of the year until 2049, four from 2050. */
export function time(milliseconds: number): Buffer {
  const text = `${new Date(milliseconds).toISOString().replace(/[-:T]|\.\d+/g, "")}`;
  return Number(text.slice(0, 4)) < 2050
    ? encode(tags.utcTime, Buffer.from(text.slice(2)))
    : encode(tags.generalizedTime, Buffer.from(text));
}

export interface Element {
  tag: number;
  content: Buffer;
  /** Tag, length and content, as they stand. */
  whole: Buffer;
}

/** The elements in the content of a constructed one, or one after another in a buffer. */
export function elementsOf(content: Buffer = Buffer.alloc(0)): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < content.length; ) {
    const first = content.readUInt8(at + 1);
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    const length = lengthBytes === 0 ? first : content.readUIntBE(at + 2, lengthBytes);
    const start = at + 2 + lengthBytes;
    const end = start + length;
    if (end > content.length) throw new Error("the encoding ends before its content does");
    found.push({
      tag: content.readUInt8(at),
      content: content.subarray(start, end),
      whole: content.subarray(at, end),
    });
    at = end;
  }
  return found;
}
