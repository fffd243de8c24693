import { commands } from "../components/mysql/agent";
import { run } from "./main";

void run(commands);
