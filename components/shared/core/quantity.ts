const factors: Record<string, number> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/** Bytes of a Kubernetes quantity such as "8Gi", or undefined when it is none. */
export function parseQuantity(quantity: string): number | undefined {
  const match = /^([0-9]+(?:\.[0-9]+)?)([kMGTP]|[KMGTP]i)?$/.exec(quantity);
  const factor = match === null ? undefined : factors[match[2] ?? ""];
  return match === null || factor === undefined ? undefined : Math.floor(Number(match[1]) * factor);
}

/** Cores of a Kubernetes CPU quantity such as "500m" or "2", or undefined when it is none. */
export function parseCpu(quantity: string): number | undefined {
  const match = /^([0-9]+(?:\.[0-9]+)?)(m?)$/.exec(quantity);
  return match === null ? undefined : Number(match[1]) / (match[2] === "m" ? 1000 : 1);
}
