import { commands } from "../components/redis/agent";
import { run } from "./main";

void run(commands);
