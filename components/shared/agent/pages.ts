/** What an agent that runs all the time answers over HTTP: to probes, to other agents, to Prometheus. */
import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { messageOf } from "../core/errors";

export interface Page {
  ok: boolean;
  text: string;
}

/** By path. A page that fails says why, with status 503. */
export type Pages = Record<string, () => Page | Promise<Page>>;

export async function servePages(port: number, pages: Pages): Promise<Server> {
  const server = createServer(answer(pages)).listen(port);
  await once(server, "listening");
  return server;
}

function answer(pages: Pages): RequestListener {
  return (request, response) => {
    const page = pages[request.url ?? ""];
    if (page === undefined) {
      response.writeHead(404).end();
      return;
    }
    void Promise.resolve()
      .then(page)
      .catch((error: unknown) => ({ ok: false, text: messageOf(error) }))
      .then(({ ok, text }) => {
        response.writeHead(ok ? 200 : 503, { "content-type": "text/plain; charset=utf-8" }).end(`${text.trimEnd()}\n`);
      });
  };
}
