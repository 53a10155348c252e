//! Tables of the pages for users, held against the code.
