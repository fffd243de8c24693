/** How the checks of several services begin and end. Loads no library. */
import type { Finding } from "../core/check";
import type { Connections } from "./connections";
import { type CheckContext, greetMembers, type Place } from "./context";
import { type Access, administrator } from "./logins";

export interface Answering<C> {
  access: Access;
  clients: ReadonlyMap<string, C>;
  members: Place[];
  /** The members that answer, and the Service. */
  places: Place[];
}

/** Greets each member as the administrator, and examines the ensemble when at least one answers. Then closes the session. */
export async function checkMembers<C>(
  context: CheckContext,
  session: Connections<C>,
  greet: (client: C, place: Place) => Promise<string>,
  examine: (answering: Answering<C>) => Promise<void>,
): Promise<Finding[]> {
  try {
    const access = await administrator(context);
    if (access === undefined) return context.findings;
    const clients = new Map<string, C>();
    await greetMembers(context, async (place) => {
      const client = await session.open(place, access);
      const greeting = await greet(client, place);
      clients.set(place.name, client);
      return greeting;
    });
    const members = [...clients.keys()].map((each) => context.member(each));
    if (clients.size > 0) await examine({ access, clients, members, places: [...members, context.address] });
    return context.findings;
  } finally {
    await session.close();
  }
}
