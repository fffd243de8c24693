import { commands } from "../components/vault/agent";
import { run } from "./main";

void run(commands);
