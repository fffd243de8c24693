/** IPv4 ranges as numbers. The sandbox has no IPv6; what is not an IPv4 range yields undefined and matches nothing. */
interface Range {
  first: number;
  bits: number;
}

export function parseRange(text: string): Range | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\/(\d{1,2}))?$/.exec(text);
  if (match === null) return undefined;
  const octets = match.slice(1, 5).map(Number);
  const bits = match[5] === undefined ? 32 : Number(match[5]);
  if (bits > 32 || octets.some((octet) => octet > 255)) return undefined;
  const address = octets.reduce((sum, octet) => sum * 256 + octet, 0);
  const size = 2 ** (32 - bits);
  return { first: Math.floor(address / size) * size, bits };
}

export function inRange(address: string, range: string): boolean {
  const one = parseRange(address);
  const many = parseRange(range);
  if (one === undefined || many === undefined) return false;
  return one.first >= many.first && one.first < many.first + 2 ** (32 - many.bits);
}

/** The range as nftables wants it: no host bits, no prefix for a single address. */
export function canonical(text: string): string | undefined {
  const range = parseRange(text);
  if (range === undefined) return undefined;
  const octets = [24, 16, 8, 0].map((shift) => Math.floor(range.first / 2 ** shift) % 256).join(".");
  return range.bits === 32 ? octets : `${octets}/${range.bits}`;
}

export const isEverything = (text: string): boolean => parseRange(text)?.bits === 0;

export const byAddress = (left: string, right: string): number =>
  (parseRange(left)?.first ?? 0) - (parseRange(right)?.first ?? 0);
