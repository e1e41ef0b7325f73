from worker.training.marks.main import main

if __name__ == "__main__":
    raise SystemExit(main())
