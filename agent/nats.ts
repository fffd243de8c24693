import { commands } from "../components/nats/agent";
import { run } from "./main";

void run(commands);
