//! The lock machine's rules, one at a time.
