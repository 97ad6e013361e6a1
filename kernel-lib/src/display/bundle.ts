/** What a notebook output holds: the same thing in several forms, of which each reader takes the best it can show. */
export type Bundle = { [mime: string]: unknown };
