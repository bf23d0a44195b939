mod read;
mod round;
mod write;
