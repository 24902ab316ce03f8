// What the explorables share.
export const NS = "http://www.w3.org/2000/svg";
